"""Attach to the sandbox's own init, which was root of the user namespace a moment ago.

Source: LXC CVE-2016-8649, runc CVE-2016-9962: the process that sets up the container as the victim.
Stopped by: syscalls; init is not dumpable (identity.dumpable); Landlock allows ptrace within its own domain only.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "ptrace",
    "outside": "shell",
    "without": ["syscalls.ptrace+identity.dumpable+landlock"],
}

SEIZE = 0x4206
libc = ctypes.CDLL(None, use_errno=True)
if libc.ptrace(SEIZE, os.getppid(), 0, 0) < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: attached to my parent")
