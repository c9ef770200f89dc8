"""Use the one exec that the filter leaves to the launcher, with the constant that its source shows.

Source: Own reading of this design: a backdoor in the filter must not be a constant.
Stopped by: syscalls: the constant is replaced by 64 random bits for each run.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "execveat",
    "without": ["syscalls.exec_magic"],
}

libc = ctypes.CDLL(None, use_errno=True)
EXECVEAT, AT_FDCWD = {"x86_64": 322, "aarch64": 281}[os.uname().machine], -100
magic = int.from_bytes(b"hivebox!", "big")
arguments = (ctypes.c_char_p * 4)(b"sh", b"-c", b"echo BREACH: a shell", None)
environment = (ctypes.c_char_p * 1)(None)
libc.syscall(EXECVEAT, AT_FDCWD, b"/bin/sh", arguments, environment, 0, ctypes.c_long(magic))
sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
