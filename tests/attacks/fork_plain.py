"""Fork, where the profile grants threads only.

Source: hiding from a supervisor that watches one process.
Stopped by: syscalls: clone is allowed for threads only.
"""

import os
import sys

EXPECT = {"says": "Operation not permitted", "violations": "clone", "without": ["syscalls.clone"]}

read_fd, write_fd = os.pipe()
try:
    pid = os.fork()
except OSError as error:
    sys.exit(f"refused: {error}")
if pid == 0:
    os.write(write_fd, b"I am")
    os._exit(0)
print("BREACH: process", pid, "says", os.read(read_fd, 10))
