"""Compute in three processes, each below the limit.

Source: RLIMIT_CPU counts one process at a time.
Stopped by: limits.cpu_time, which counts the tree.
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

children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        while time.process_time() < 0.4:
            pass
        os._exit(0)
    children.append(pid)
if all(os.waitpid(pid, 0)[1] == 0 for pid in children):
    print("BREACH: 1.2 s of CPU time where 0.5 were allowed")
