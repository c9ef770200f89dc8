"""Give one file a hundred names, so that the copies are a hundred times what the limits counted.

Source: archive bombs by hard links (CWE-409).
Stopped by: outputs: a file with more than one name is left out.
"""

import os

EXPECT = {
    "outcome": "ok",
    "collect": {"name99": "hard link"},
    "without": ["outputs"],
}

with open("original", "wb") as file:
    file.write(b"x" * 100_000)
for number in range(100):
    os.link("original", f"name{number}")
