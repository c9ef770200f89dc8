"""Compute in short-lived children for which nobody waits: their CPU time is in no parent's sum.

Source: times(2), NOTES: with SIGCHLD ignored, children's times are not added.
Stopped by: limits.cpu_time.
"""

import os
import signal
import time

EXPECT = {
    "groups": "process",
    "limits": {"cpu_time_s": 0.5},
    "outcome": "cpu_time",
    "cause": "cpu_time",
    "without": ["limits.cpu_time"],
}

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in range(24):
    if os.fork() == 0:
        while time.process_time() < 0.05:
            pass
        os._exit(0)
    try:
        os.wait()
    except ChildProcessError:
        continue
print("BREACH: 1.2 s of CPU time where 0.5 were allowed")
