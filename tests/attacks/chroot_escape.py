"""The classic: chroot into a subdirectory while a descriptor of a directory outside is open, and walk up.

Source: chroot(2), NOTES.
Stopped by: syscalls, and empty capability sets. The root was changed with pivot_root: nothing is above it.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "chroot",
    "outside": "userns",
    "without": ["syscalls.chroot+privileges.capabilities"],
}

libc = ctypes.CDLL(None, use_errno=True)
outside_fd = os.open(".", os.O_RDONLY)
os.mkdir("jail")
if libc.chroot(b"jail") < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
os.fchdir(outside_fd)
for _ in range(32):
    os.chdir("..")
print("BREACH: out of the jail again, in", os.listdir("."))
