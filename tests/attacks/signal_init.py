"""Kill one's parent: the sandbox's init, whose death would leave the run without a reaper and a clock.

Source: kill(2), NOTES: what PID 1 of a namespace ignores.
Stopped by: namespaces.pid (PID 1 ignores signals from inside) and Landlock's signal scope.
"""

import os
import signal
import sys
import time

EXPECT = {
    "says": "still there",
    "breach_outcome": "signaled",
    "outside": "shell",
    "without": ["namespaces.pid+landlock"],
}

parent = os.getppid()
for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
    try:
        os.kill(parent, number)
    except OSError as error:
        print("refused:", error)
deadline = time.monotonic() + 0.2
while time.monotonic() < deadline:
    if os.getppid() != parent:
        os.write(1, b"BREACH: my parent is dead\n")  # at once: without it this is over in a moment
        sys.exit()
sys.exit("refused: my parent is still there")
