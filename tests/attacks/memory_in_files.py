"""Take memory by writing files without a name: the work directory is a tmpfs.

Source: /dev/shm as a way around per-process limits.
Stopped by: limits.memory, which counts the tmpfs too.
"""

import tempfile
import time

EXPECT = {
    "limits": {"memory_bytes": 40_000_000},
    "outcome": "memory",
    "cause": "memory",
    "without": ["limits.memory"],
}

files = [tempfile.TemporaryFile(dir="/dev/shm" if number % 2 else "/tmp") for number in range(5)]
for file in files:
    file.write(b"x" * 12_000_000)
    file.flush()
time.sleep(0.3)
print("BREACH: 60 MB where 40 were allowed")
