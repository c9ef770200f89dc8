"""Read a file whose owner has locked it against everyone, himself included.

Source: CAP_DAC_OVERRIDE left to a container, even in a user namespace of its own.
Stopped by: privileges: empty capability sets.
"""

import sys

EXPECT = {
    "scene": "locked_file",
    "grant": "read_only",
    "args": ["{shared}"],
    "says": "Permission denied",
    "outside": "userns",
    "without": ["privileges.capabilities"],
}

try:
    with open(f"{sys.argv[1]}/locked") as file:
        print("BREACH:", file.read())
except OSError as error:
    sys.exit(f"refused: {error}")
