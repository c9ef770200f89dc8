"""Open a device node that lies in a granted directory.

Source: image layers and archives that carry device nodes.
Stopped by: grants.nodev.
"""

import sys

EXPECT = {
    "scene": "device_in_directory",
    "grant": "read_only",
    "args": ["{shared}"],
    "says": "Permission denied",
    "outside": "root",
    "user": "root",
    "without": ["grants.nodev"],
}

try:
    with open(f"{sys.argv[1]}/device", "rb") as file:
        print("BREACH: read", len(file.read(16)), "bytes from a device")
except OSError as error:
    sys.exit(f"refused: {error}")
