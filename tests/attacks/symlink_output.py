"""Leave links among the outputs, so that whoever collects them reads the caller's private files.

Source: docker cp CVE-2018-15664; kubectl cp CVE-2019-1002101.
Stopped by: outputs: only regular files are taken, opened without following anything.
"""

import os
import sys

EXPECT = {
    "scene": "secret",
    "args": ["{secret}"],
    "outcome": "ok",
    "collect": {"stolen": "not a regular file", "directory": "not a regular file", "honest": ""},
    "without": ["outputs"],
}

os.symlink(sys.argv[1], "stolen")
os.symlink(os.path.dirname(sys.argv[1]), "directory")
with open("honest", "w") as file:
    file.write("a result\n")
