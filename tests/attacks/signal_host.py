"""Kill a process of the caller that has nothing to do with the run.

Source: the plainest harm that a script of the same user can do.
Stopped by: namespaces.pid (there is no such process), Landlock's signal scope, and identity (another user) under root.
"""

import os
import signal
import sys

EXPECT = {
    "scene": "victim",
    "args": ["{pid}"],
    "says": "No such process",
    "without": ["namespaces.pid+landlock+identity"],
}

try:
    os.kill(int(sys.argv[1]), signal.SIGKILL)
except OSError as error:
    sys.exit(f"refused: {error}")
print("killed", sys.argv[1])
