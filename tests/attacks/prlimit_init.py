"""Take away the resources of the sandbox's own init, which runs as the same user.

Source: prlimit(2); CVE-2016-9962 again: init as the victim.
Stopped by: syscalls: prlimit64 may set the caller's own limits only.
"""

import os
import resource
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "prlimit64",
    "outside": "shell",
    "without": ["syscalls.prlimit64"],
}

try:
    resource.prlimit(os.getppid(), resource.RLIMIT_CORE, (0, 0))
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: set a limit of my parent")
