"""Compute in grandchildren whose parents have ended: init waits for them, and no process of the script does.

Source: times(2): a sum over the descendants of one process misses those who were adopted.
Stopped by: limits.cpu_time.
"""

import os
import time

EXPECT = {
    "groups": "process",
    "limits": {"cpu_time_s": 0.5},
    "outcome": "cpu_time",
    "cause": "cpu_time",
    "without": ["limits.cpu_time"],
}

read_fd, write_fd = os.pipe()
for _ in range(6):
    if os.fork() == 0:
        if os.fork() == 0:
            while time.process_time() < 0.2:
                pass
            os.write(write_fd, b".")
        os._exit(0)
    os.wait()
    os.read(read_fd, 1)
print("BREACH: 1.2 s of CPU time where 0.5 were allowed")
