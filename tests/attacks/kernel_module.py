"""Load a kernel module.

Source: CAP_SYS_MODULE left to a container.
Stopped by: syscalls, and behind it the kernel: CAP_SYS_MODULE counts in the first user namespace only.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "init_module",
    "outside": "root",
    "absent": "CONFIG_MODULES",
}

libc = ctypes.CDLL(None, use_errno=True)
INIT_MODULE, ENOSYS, EPERM = {"x86_64": 175, "aarch64": 105}[os.uname().machine], 38, 1
libc.syscall(INIT_MODULE, b"not a module", 12, b"")
if ctypes.get_errno() == ENOSYS:
    sys.exit(print("ABSENT: init_module") or 1)
if ctypes.get_errno() == EPERM:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: the kernel read my module:", os.strerror(ctypes.get_errno()))
