"""Load another kernel.

Source: CAP_SYS_BOOT left to a container.
Stopped by: syscalls, and behind it the kernel: CAP_SYS_BOOT counts in the first user namespace only.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "kexec_load",
    "outside": "root",
    "absent": "CONFIG_KEXEC",
}

libc = ctypes.CDLL(None, use_errno=True)
KEXEC_LOAD, ENOSYS = {"x86_64": 246, "aarch64": 104}[os.uname().machine], 38
if libc.syscall(KEXEC_LOAD, 0, 0, None, 0) < 0:
    if ctypes.get_errno() == ENOSYS:
        sys.exit(print("ABSENT: kexec_load") or 1)
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: kexec_load was allowed (nothing was loaded)")
