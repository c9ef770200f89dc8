"""Write into /etc. (An unnamed file: nothing stays, outside either.)

Source: persistence, /etc/ld.so.preload.
Stopped by: pivot.read_only and Landlock.
"""

import os
import sys

EXPECT = {"says": "Read-only file system", "outside": "root", "without": ["pivot.read_only+landlock"]}

try:
    os.close(os.open("/etc", os.O_TMPFILE | os.O_WRONLY, 0o600))
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: a file in /etc")
