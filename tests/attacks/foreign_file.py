"""Read root's private file in a granted directory that belongs to somebody else.

Source: containers whose root is the host's root: CVE-2019-5736, CVE-2022-0492 and most others need it.
Stopped by: identity: started by root, the payload is an unprivileged user of the host.
"""

import sys

EXPECT = {
    "scene": "foreign_file",
    "grant": "read_only",
    "args": ["{shared}"],
    "says": "Permission denied",
    "outside": "root",
    "user": "root",
    "without": ["identity"],
}

try:
    with open(f"{sys.argv[1]}/roots") as file:
        print("BREACH:", file.read())
except OSError as error:
    sys.exit(f"refused: {error}")
