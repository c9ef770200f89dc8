"""Make a link in a granted directory that points at a private file, and read through it.

Source: docker CVE-2018-15664; Kubernetes subPath CVE-2017-1002101.
Stopped by: the mount namespace: links are resolved in the sandbox's root. (Not removable: docs/attacks.md.)
"""

import os
import sys

EXPECT = {
    "scene": "secret",
    "grant": "read_write",
    "args": ["{shared}", "{secret}"],
    "says": "No such file or directory",
}

link = f"{sys.argv[1]}/link"
os.symlink(sys.argv[2], link)
try:
    with open(link) as file:
        print("BREACH:", file.read())
except OSError as error:
    sys.exit(f"refused: {error}")
finally:
    os.unlink(link)
