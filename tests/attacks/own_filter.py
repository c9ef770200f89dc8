"""Load a second seccomp filter that answers first, so that refused calls are no longer seen.

Source: seccomp_unotify(2): an errno from a later filter beats a notification; also how a sandbox is blinded.
Stopped by: syscalls: prctl is allowed for a few options only.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "prctl",
    "without": ["syscalls.prctl"],
}

libc = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2
RETURN_ALLOW = (0x06).to_bytes(2, "little") + bytes(2) + (0x7FFF0000).to_bytes(4, "little")


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
if libc.prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(Program(1, RETURN_ALLOW)), 0, 0) < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: a filter of my own in front of yours")
