"""Set up an io_uring: a way to make system calls that no seccomp filter sees.

Source: CVE-2021-41073, CVE-2022-29582, CVE-2023-2598; "curing" (2025), a rootkit that uses no system calls.
Stopped by: syscalls.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "io_uring_setup",
    "without": ["syscalls.io_uring_setup"],
}

IO_URING_SETUP = 425
libc = ctypes.CDLL(None, use_errno=True)
ring = libc.syscall(IO_URING_SETUP, 4, ctypes.create_string_buffer(120))
if ring < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: a ring on descriptor", ring)
