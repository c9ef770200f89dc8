"""Take memory by writing files: the work directory is a tmpfs.

Source: /dev/shm as a way around per-process limits.
Stopped by: limits.memory, which counts the tmpfs too.
"""

import time

EXPECT = {
    "limits": {"memory_bytes": 40_000_000},
    "outcome": "memory",
    "cause": "memory",
    "without": ["limits.memory"],
}

for number in range(5):
    with open(f"{'/dev/shm' if number % 2 else '/tmp'}/hivebox-attack-{number}", "wb") as file:
        file.write(b"x" * 12_000_000)
time.sleep(0.3)
print("BREACH: 60 MB where 40 were allowed")
