"""Make empty files until there is no room for another anywhere.

Source: denial of service (CWE-400): `df` shows space, `df -i` none.
Stopped by: workdir.inodes.
"""

import sys

EXPECT = {
    "limits": {"workdir_inodes": 200},
    "says": "No space left on device",
    "without": ["workdir.inodes"],
}

try:
    for number in range(400):
        open(f"file{number}", "w").close()
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: 400 files where 200 were allowed")
