"""Leave a set-user-ID copy of a shell in a directory of the host, for an accomplice outside.

Source: the oldest trick there is; systemd's RestrictSUIDSGID= exists for it.
Stopped by: syscalls: no mode with set-user-ID or set-group-ID bits.
"""

import os
import sys

EXPECT = {
    "grant": "read_write",
    "args": ["{shared}"],
    "says": "Operation not permitted",
    "violations": "chmod",
    "without": ["syscalls.chmod"],
}

path = f"{sys.argv[1]}/shell"
with open(path, "w") as file:
    file.write("a shell\n")
try:
    os.chmod(path, 0o4755)
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: whoever runs it outside runs it as its owner:", oct(os.stat(path).st_mode))
