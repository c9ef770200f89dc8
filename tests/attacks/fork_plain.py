"""Fork, where the profile grants threads only.

Source: hiding from a supervisor that watches one process.
Stopped by: syscalls: clone is allowed for threads only.
"""

import os
import sys

EXPECT = {"says": "Operation not permitted", "violations": "clone", "without": ["syscalls.clone"]}

try:
    pid = os.fork()
except OSError as error:
    sys.exit(f"refused: {error}")
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
print("BREACH: process", pid)
