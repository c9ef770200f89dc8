"""Open descriptors until there is none left in the system.

Source: denial of service (CWE-774).
Stopped by: rlimits.nofile.
"""

import os
import sys

EXPECT = {
    "limits": {"open_files": 64},
    "says": "Too many open files",
    "without": ["rlimits.nofile"],
}

try:
    for _ in range(200):
        os.open("/dev/null", os.O_RDONLY)
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: 200 descriptors where 64 were allowed")
