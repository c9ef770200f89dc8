"""Read what another run of the same caller keeps in its work directory.

Source: runs of two tenants on one machine; /tmp races between CI jobs.
Stopped by: the mount namespace (each run has its own tmpfs), namespaces.pid (the other has no number here).
(Not removable: docs/attacks.md.)
"""

import sys

EXPECT = {
    "scene": "other_run",
    "args": ["{pid}"],
    "says": "No such file or directory",
}

try:
    with open(f"/proc/{sys.argv[1]}/root/work/key") as file:
        print("BREACH:", file.read())
except OSError as error:
    sys.exit(f"refused: {error}")
