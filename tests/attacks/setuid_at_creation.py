"""The same without chmod: open(2) takes the mode too.

Source: as setuid_in_grant; filters that know chmod only.
Stopped by: syscalls: no mode with set-user-ID or set-group-ID bits.
"""

import os
import sys

EXPECT = {
    "grant": "read_write",
    "args": ["{shared}"],
    "says": "Operation not permitted",
    "violations": "openat",
    "without": ["syscalls.openat"],
}

path = f"{sys.argv[1]}/shell"
try:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o4755))
except OSError as error:
    sys.exit(f"refused: {error}")
if not os.stat(path).st_mode & 0o4000:
    sys.exit("refused: the bit was not set")
print("BREACH: whoever runs it outside runs it as its owner")
