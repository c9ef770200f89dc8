"""Make a BPF map.

Source: CVE-2020-8835, CVE-2021-3490, CVE-2022-23222: the verifier as a way into the kernel.
Stopped by: syscalls, and behind it the kernel: CAP_BPF counts in the first user namespace only.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "bpf",
    "outside": "root",
}

libc = ctypes.CDLL(None, use_errno=True)
BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
MAP_CREATE, ARRAY = 0, 2
attributes = (ctypes.c_uint32 * 32)(ARRAY, 4, 4, 1)
handle = libc.syscall(BPF, MAP_CREATE, attributes, 128)
if handle < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: BPF map", handle)
