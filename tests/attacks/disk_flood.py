"""Fill the disk with many files, each below the file size limit.

Source: denial of service (CWE-400).
Stopped by: workdir.size, the size of the one tmpfs behind /work, /tmp and /dev/shm.
"""

import sys

EXPECT = {
    "limits": {"workdir_size_bytes": 2_000_000},
    "says": "No space left on device",
    "without": ["workdir.size"],
}

block = b"x" * (1 << 20)
try:
    for number in range(8):
        with open(f"part{number}", "wb") as file:
            file.write(block)
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: 8 MiB where 2 were allowed")
