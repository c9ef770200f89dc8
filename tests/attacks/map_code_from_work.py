"""Map a file of the work directory as code: a shared object of one's own, without any exec.

Source: LD_PRELOAD and ctypes.CDLL droppers.
Stopped by: workdir, mounted noexec. (Landlock does not see mappings.)
"""

import mmap
import os
import sys

EXPECT = {"says": "Operation not permitted", "without": ["workdir.noexec"]}

with open("code", "wb") as file:
    file.write(b"\xc3" * 4096)
handle = os.open("code", os.O_RDONLY)
try:
    mmap.mmap(handle, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: a file of mine is mapped as code")
