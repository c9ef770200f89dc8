"""Leave directories so deep that walking them exhausts the stack or the length of a path.

Source: uncontrolled recursion in archive and copy tools (CWE-674).
Stopped by: outputs: no deeper than 32 directories.
"""

import os

EXPECT = {
    "outcome": "ok",
    "collect": {"honest": "", "d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d": "deeper"},
    "without": ["outputs"],
}

with open("honest", "w") as file:
    file.write("a result\n")
for _ in range(100):
    os.mkdir("d")
    os.chdir("d")
with open("deep", "w") as file:
    file.write("found\n")
