"""Give an output a name that is no text, so that the record of the run cannot be written.

Source: own reading: JSON has no bytes; file names are bytes (CWE-838). A run that leaves no record is what an
attacker wants most.
Stopped by: outputs and the record: the name is escaped.
"""

import os

EXPECT = {"outcome": "ok", "collect": {"honest": ""}}

for name in (b"\xff\xfe", b"new\nline", b"\x1b[2J"):
    with open(os.path.join(b".", name), "wb") as file:
        file.write(b"x")
with open("honest", "w") as file:
    file.write("a result\n")
