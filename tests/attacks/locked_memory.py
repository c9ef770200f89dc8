"""Lock memory so that the kernel can never take it back.

Source: mlock(2); denial of service.
Stopped by: rlimits.memlock.
"""

import ctypes
import mmap
import os
import sys

EXPECT = {"says": "Cannot allocate memory", "without": ["rlimits.memlock"]}

libc = ctypes.CDLL(None, use_errno=True)
memory = mmap.mmap(-1, 1_000_000)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
if libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(1_000_000)) < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: a megabyte is locked")
