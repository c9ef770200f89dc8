"""Set the times of a file in the program tree that carelessness left writable by everyone: Python takes a .pyc with
a matching time for the module.

Source: PEP 552 (timestamp-based .pyc files); Landlock's documented limits: modes and times are not covered.
Stopped by: rootfs.read_only.
"""

import os
import sys

EXPECT = {
    "scene": "careless_tree",
    "args": ["{unit}"],
    "says": "Read-only file system",
    "without": ["rootfs.read_only"],
}

try:
    os.utime(f"{sys.argv[1]}/module.py")
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: the file has the time I gave it")
