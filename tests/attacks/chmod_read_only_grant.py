"""Open a file of a read-only grant to everyone: modes, owners and times are no writes, and Landlock lets them pass.

Source: Landlock's documented limits (landlock(7), "unhandled accesses").
Stopped by: grants.read_only.
"""

import os
import sys

EXPECT = {
    "grant": "read_only",
    "args": ["{shared}"],
    "says": "Read-only file system",
    "without": ["grants.read_only"],
}

try:
    os.chmod(f"{sys.argv[1]}/note", 0o666)
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: everyone may write it now")
