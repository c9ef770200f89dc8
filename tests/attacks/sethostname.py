"""Rename the machine.

Source: What containers without a UTS namespace let through.
Stopped by: syscalls, and empty capability sets.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "sethostname",
    "outside": "userns",
    "without": ["syscalls.sethostname+privileges.capabilities"],
}

libc = ctypes.CDLL(None, use_errno=True)
if libc.sethostname(b"pwned", 5) < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: the machine is called", os.uname().nodename)
