"""Change the mode (to what it is) of a file in /etc, which belongs to the sandbox's user.

Source: Landlock's documented limits: modes, owners and times are not covered.
Stopped by: pivot.read_only.
"""

import os
import stat
import sys

EXPECT = {"says": "Read-only file system", "outside": "root", "without": ["pivot.read_only"]}

try:
    os.chmod("/etc/hosts", stat.S_IMODE(os.stat("/etc/hosts").st_mode))
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: /etc/hosts has the mode I gave it")
