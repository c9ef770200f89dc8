"""Take memory in files that are in no file system and in no process's address space.

Source: memfd_create(2) as a way around per-process limits and polling of /proc/PID/smaps.
Stopped by: limits.memory; where no control group counts them, by syscalls: ENOSYS.
"""

import os
import time

EXPECT = {
    "limits": {"memory_bytes": 40_000_000},
    "outcome": "memory",
    "cause": "memory",
    "since": "6.3",  # MFD_NOEXEC_SEAL, without which a program gets no memory files
    "without": ["limits.memory"],
    "polled": {"outcome": "failed", "cause": None, "without": ["syscalls.memory_files"]},
}

NOEXEC_SEAL = 8
block = b"x" * 1_000_000
handles = [os.memfd_create("hidden", NOEXEC_SEAL) for _ in range(5)]
for handle in handles:
    for _ in range(20):
        os.write(handle, block)
time.sleep(0.3)
print("BREACH: 100 MB where 40 were allowed")
