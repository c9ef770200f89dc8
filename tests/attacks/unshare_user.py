"""Become root of a new user namespace.

Source: The first step of CVE-2022-0185, CVE-2022-25636, CVE-2023-32233, CVE-2024-1086.
Stopped by: syscalls, and namespaces: none may be made inside.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "unshare",
    "without": ["syscalls.unshare+namespaces.quotas"],
}

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER = 0x10000000
if libc.unshare(CLONE_NEWUSER) < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: every capability in a user namespace of my own")
