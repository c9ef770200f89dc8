"""Make a system call by int 0x80: the i386 table has other numbers, and a filter for x86-64 reads them wrongly.

Source: seccomp(2): a filter must check the architecture before the number.
Stopped by: syscalls: the architecture is pinned, the process ends.
"""

import ctypes
import mmap
import os
import sys

EXPECT = {
    "outcome": "killed_by_policy",
    "cause": "syscalls",
    "violations": "foreign_architecture",
    "without": ["syscalls.architecture"],
}

if os.uname().machine != "x86_64":
    sys.exit(print("ABSENT: int 0x80") or 1)
GETPID = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"  # mov eax, 20; int 0x80; ret
page = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(GETPID)
call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
answer = call()
if answer != os.getpid():
    sys.exit(f"refused: {answer}")
print("BREACH: pid", answer, "by int 0x80")
