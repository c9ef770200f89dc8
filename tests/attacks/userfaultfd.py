"""Get a userfaultfd: it stops the kernel in the middle of copying from user memory, which wins races.

Source: Used by the exploits of CVE-2016-6187 and CVE-2019-18683.
Stopped by: syscalls.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "userfaultfd",
    "without": ["syscalls.userfaultfd"],
}

libc = ctypes.CDLL(None, use_errno=True)
USERFAULTFD = {"x86_64": 323, "aarch64": 282}[os.uname().machine]
USER_MODE_ONLY = 1
handle = libc.syscall(USERFAULTFD, USER_MODE_ONLY)
if handle < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: userfaultfd", handle)
