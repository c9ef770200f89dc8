"""Make a file system with the new mount API, which older filters do not name.

Source: CVE-2022-0185 (fsconfig heap overflow, reached through fsopen).
Stopped by: syscalls, and empty capability sets.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "fsopen",
    "outside": "userns",
    "without": ["syscalls.fsopen+privileges.capabilities"],
}

libc = ctypes.CDLL(None, use_errno=True)
FSOPEN = 430
if libc.syscall(FSOPEN, b"tmpfs", 0) < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: a file system context")
