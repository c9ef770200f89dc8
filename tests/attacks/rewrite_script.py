"""Rewrite one's own script after it was hashed, so that the record names what nobody will find.

Source: time of check, time of use (CWE-367); self-deleting malware.
Stopped by: pivot.read_only (the script is in the sandbox's root) and Landlock.
"""

import os
import sys

EXPECT = {"says": "Read-only file system", "without": ["pivot.read_only+landlock"]}

try:
    os.chmod(__file__, 0o755)
    with open(__file__, "a") as file:
        file.write("# nothing to see here\n")
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: my source is what I want it to be")
