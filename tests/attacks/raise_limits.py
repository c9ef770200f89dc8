"""Raise one's own limits again.

Source: limits set by `ulimit -S` only: setrlimit(2) lets the soft one be raised to the hard one.
Stopped by: rlimits: the hard limit is set too, and no capability to raise it is left.
"""

import os
import resource
import sys

EXPECT = {
    "limits": {"open_files": 64},
    "says": "not allowed to raise",
    "outside": "small",
    "without": ["rlimits.nofile"],
}

try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    for _ in range(200):
        os.open("/dev/null", os.O_RDONLY)
except (OSError, ValueError) as error:
    sys.exit(f"refused: {error}")
print("BREACH: 200 descriptors where 64 were allowed")
