"""Attach a System V shared memory segment of the host that everyone may read.

Source: databases and displays that share memory by number; no file, no mount.
Stopped by: namespaces.ipc; without control groups the run is refused (syscalls.uncounted).
"""

import ctypes
import os
import sys

EXPECT = {
    "more_groups": ["@ipc"],
    "scene": "shared_memory",
    "args": ["{shmid}"],
    "says": "Invalid argument",
    "without": ["namespaces.ipc"],
    "polled": {
        "outcome": "not_started",
        "says": "nothing counts them",
        "without": ["syscalls.uncounted+namespaces.ipc"],
    },
}

SHM_RDONLY = 0o10000
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_long
if libc.shmat(int(sys.argv[1]), None, SHM_RDONLY) == -1:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: attached the host's memory")
