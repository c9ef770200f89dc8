"""Make a device node: 0:0 needs no privilege, and hides a file of an overlay's lower layer.

Source: mknod(2) in containers that kept CAP_MKNOD; whiteouts of overlayfs.
Stopped by: syscalls (kinds of node are filtered) and Landlock (no MAKE_CHAR anywhere).
"""

import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "mknodat",
    "without": ["syscalls.mknodat+landlock"],
}

CHARACTER_DEVICE = 0o020644
try:
    os.mknod("whiteout", CHARACTER_DEVICE, os.makedev(0, 0))
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: a device node")
