"""Stop the process that the supervisor waits for, and be woken by a child when nobody looks any more.

Source: job control against watchdogs; a stopped process does not act on SIGTERM.
Stopped by: limits.wall_time; SIGKILL to PID 1 also ends what is stopped.
"""

import os
import signal
import time

EXPECT = {
    "groups": "process",
    "limits": {"wall_time_s": 0.4},
    "outcome": "timeout",
    "cause": "wall_time",
    "without": ["limits.wall_time"],
}

sleeper = os.getpid()
if os.fork() == 0:
    time.sleep(1.2)
    os.kill(sleeper, signal.SIGCONT)
    os._exit(0)
os.kill(sleeper, signal.SIGSTOP)
print("BREACH: slept through the limit")
