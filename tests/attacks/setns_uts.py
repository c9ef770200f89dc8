"""Enter a namespace by its file.

Source: nsenter(1) turned round.
Stopped by: syscalls, and empty capability sets.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "setns",
    "outside": "userns",
    "without": ["syscalls.setns+privileges.capabilities"],
}

libc = ctypes.CDLL(None, use_errno=True)
handle = os.open("/proc/self/ns/uts", os.O_RDONLY)
if libc.setns(handle, 0) < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: setns was allowed")
