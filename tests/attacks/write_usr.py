"""Write into the program tree, which every run and maybe the host share. (An unnamed file: nothing stays.)

Source: Dirty Pipe's targets (CVE-2022-0847); poisoning what the next run executes.
Stopped by: rootfs.read_only, Landlock, and the owner of the tree, who is nobody inside (identity).
"""

import os
import sys

EXPECT = {
    "says": "Read-only file system",
    "outside": "root",
    "user": "root",
    "without": ["rootfs.read_only+landlock+identity"],
}

try:
    os.close(os.open("/usr/lib", os.O_TMPFILE | os.O_WRONLY, 0o600))
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: a file in /usr/lib")
