"""Become a shell, where the profile grants no exec.

Source: every remote code execution ever: execve("/bin/sh").
Stopped by: syscalls.
"""

import os
import sys

EXPECT = {"says": "Operation not permitted", "violations": "execve", "without": ["syscalls.execve"]}

try:
    os.execv("/bin/sh", ["sh", "-c", "echo BREACH: a shell"])
except OSError as error:
    sys.exit(f"refused: {error}")
