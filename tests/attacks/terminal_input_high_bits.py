"""The same with a bit set that the kernel ignores and a careless filter compares.

Source: flatpak CVE-2019-10063, snapd CVE-2019-7303.
Stopped by: syscalls (rules compare 32 bits), streams, and a session of its own.
"""

import ctypes
import os
import sys

EXPECT = {
    "scene": "callers_terminal",
    "says": "Operation not permitted",
    "violations": "ioctl",
    "absent": "CONFIG_LEGACY_TIOCSTI",
    "without": ["syscalls.ioctl+streams.stdin+streams.session"],
}

IOCTL = {"x86_64": 16, "aarch64": 29}[os.uname().machine]
TIOCSTI, HIGH_BIT, EIO = 0x5412, 1 << 32, 5
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(IOCTL, 0, ctypes.c_ulong(TIOCSTI | HIGH_BIT), b"!") < 0:
    if ctypes.get_errno() == EIO:
        print("ABSENT: TIOCSTI")
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: typed into the caller's terminal")
