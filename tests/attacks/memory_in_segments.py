"""Take memory in System V segments and detach them: no process has them, and they stay until the namespace ends.

Source: shmget(2); denial of service.
Stopped by: limits.memory; where no control group counts them, by syscalls.uncounted, which refuses the run.
"""

import ctypes
import os
import sys
import time

EXPECT = {
    "more_groups": ["@ipc"],
    "limits": {"memory_bytes": 40_000_000},
    "outcome": "memory",
    "cause": "memory",
    "without": ["limits.memory"],
    "polled": {
        "limits": {},
        "outcome": "not_started",
        "cause": None,
        "says": "nothing counts them",
        "without": ["syscalls.uncounted"],
    },
}

IPC_PRIVATE, IPC_RMID, SIZE = 0, 0, 20_000_000
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
segments = []
for _ in range(4):
    segment = libc.shmget(IPC_PRIVATE, ctypes.c_size_t(SIZE), 0o600)
    if segment < 0:
        sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
    segments.append(segment)
    address = libc.shmat(segment, None, 0)
    ctypes.memset(address, 1, SIZE)
    libc.shmdt(ctypes.c_void_p(address))
time.sleep(0.3)
for segment in segments:
    libc.shmctl(segment, IPC_RMID, None)
print("BREACH: 80 MB where 40 were allowed")
