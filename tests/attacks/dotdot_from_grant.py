"""Climb out of a granted directory with `..`.

Source: path traversal (CWE-22); bind mounts whose root was moved (CVE-2015-2925).
Stopped by: the mount namespace: `..` of a mount's root is where it is mounted. (Not removable: docs/attacks.md.)
"""

import os
import sys

EXPECT = {
    "scene": "secret",
    "grant": "read_write",
    "args": ["{shared}"],
    "says": "No such file or directory",
}

os.chdir(sys.argv[1])
try:
    with open("../private/key") as file:
        print("BREACH:", file.read())
except OSError as error:
    sys.exit(f"refused: {error}")
