"""Ask for READ_IMPLIES_EXEC: every readable page becomes executable.

Source: Weakens the next program: a step of local exploits (ADDR_NO_RANDOMIZE likewise).
Stopped by: syscalls: the argument of personality is filtered.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "personality",
    "without": ["syscalls.personality"],
}

libc = ctypes.CDLL(None, use_errno=True)
READ_IMPLIES_EXEC = 0x0400000
if libc.personality(READ_IMPLIES_EXEC) < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: personality was set")
