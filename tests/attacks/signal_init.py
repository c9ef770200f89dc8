"""Kill one's parent: the sandbox's init, whose death would leave the run without a reaper and a clock.

Source: kill(2), NOTES: what PID 1 of a namespace ignores.
Stopped by: namespaces.pid (PID 1 ignores signals from inside) and Landlock's signal scope.
"""

import os
import signal
import sys
import time

EXPECT = {"says": "still there", "outside": "shell", "without": ["namespaces.pid+landlock"]}

parent = os.getppid()
for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
    try:
        os.kill(parent, number)
    except OSError as error:
        print("refused:", error)
time.sleep(0.2)
if os.getppid() == parent:
    sys.exit("refused: my parent is still there")
print("BREACH: my parent is dead")
