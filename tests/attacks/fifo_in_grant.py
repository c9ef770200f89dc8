"""Leave a FIFO in a directory of the host, where the next program that reads it hangs.

Source: a reader that waits for ever (CWE-833).
Stopped by: landlock: a read-write grant has no MAKE_FIFO. (mkfifo is allowed by the filter, for /work.)
"""

import os
import sys

EXPECT = {
    "grant": "read_write",
    "args": ["{shared}"],
    "says": "Permission denied",
    "without": ["landlock"],
}

try:
    os.mkfifo(f"{sys.argv[1]}/trap")
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: a FIFO in a host directory")
