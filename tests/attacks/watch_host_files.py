"""Learn when the host's own processes use the files of a shared mount: a directory notification of the old kind.

Source: fcntl(2), F_NOTIFY. inotify is not granted for this reason; dnotify does the same by another name.
Stopped by: syscalls: the commands of fcntl are filtered.
"""

import fcntl
import os
import sys

EXPECT = {"says": "Operation not permitted", "violations": "fcntl", "without": ["syscalls.fcntl"]}

DN_ACCESS, DN_MULTISHOT = 0x1, 0x80000000
directory = os.open("/usr/lib", os.O_RDONLY)
try:
    fcntl.fcntl(directory, fcntl.F_NOTIFY, DN_ACCESS)
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: told whenever a file in /usr/lib is read")
