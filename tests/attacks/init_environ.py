"""Read the environment of the sandbox's own init, a copy of the supervisor that holds the caller's secrets.

Source: runc CVE-2016-9962, LXC CVE-2016-8649; /proc/1/environ is what many escapes read first.
Stopped by: init is not dumpable (identity.dumpable) and Landlock; proc then hides it (hidepid=ptraceable).
"""

import os
import sys

EXPECT = {
    "says": "No such file or directory",
    "outside": "shell",
    "without": ["identity.dumpable+landlock"],
}

try:
    found = open(f"/proc/{os.getppid()}/environ", "rb").read()
except OSError as error:
    sys.exit(f"refused: {error}")
if not found:
    sys.exit("refused: nothing there")
print("BREACH:", found[:100])
