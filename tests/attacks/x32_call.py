"""Make a system call by its x32 number, which means the same under another name.

Source: CVE-2014-0038; seccomp(2): filters that compare numbers and forget bit 30.
Stopped by: syscalls: the architecture is pinned, the process ends.
"""

import ctypes
import os
import sys

EXPECT = {
    "outcome": "killed_by_policy",
    "cause": "syscalls",
    "violations": "foreign_architecture",
    "absent": "CONFIG_X86_X32_ABI",
}

libc = ctypes.CDLL(None, use_errno=True)
X32 = 0x40000000
result = libc.syscall(X32 | 39)
if result < 0:
    print("ABSENT: x32 numbers")
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: pid", result, "by an x32 number")
