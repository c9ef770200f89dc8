"""Write into a directory that was granted for reading.

Source: tampering with the input so that the next reader is deceived.
Stopped by: grants.read_only (the mount) and Landlock.
"""

import sys

EXPECT = {
    "grant": "read_only",
    "args": ["{shared}"],
    "says": "Read-only file system",
    "without": ["grants.read_only+landlock"],
}

try:
    with open(f"{sys.argv[1]}/note", "a") as file:
        file.write("forged\n")
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: changed the input")
