"""Take a detached copy of a mount, to look under what is mounted over it.

Source: open_tree(2): a copy of a mount without what is mounted on it.
Stopped by: syscalls, and empty capability sets.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "open_tree",
    "outside": "userns",
    "without": ["syscalls.open_tree+privileges.capabilities"],
}

libc = ctypes.CDLL(None, use_errno=True)
OPEN_TREE, AT_FDCWD, CLONE = 428, -100, 1
if libc.syscall(OPEN_TREE, AT_FDCWD, b"/tmp", CLONE) < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: a detached copy of /tmp")
