"""Take a lease on a file that was granted for reading: whoever wants to write it outside waits for 45 seconds.

Source: fcntl(2), F_SETLEASE: denial of service against the owner of the file.
Stopped by: syscalls: the commands of fcntl are filtered.
"""

import fcntl
import os
import sys

EXPECT = {
    "grant": "read_only",
    "args": ["{shared}"],
    "says": "Operation not permitted",
    "violations": "fcntl",
    "without": ["syscalls.fcntl"],
}

note = os.open(f"{sys.argv[1]}/note", os.O_RDONLY)
try:
    fcntl.fcntl(note, fcntl.F_SETLEASE, fcntl.F_RDLCK)
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: whoever opens it for writing waits for me")
