"""Open the program that started the sandbox for writing, through the process that runs it.

Source: runc CVE-2019-5736: /proc/self/exe of the process that enters the container is runc of the host.
"Text file busy" counts as success: the exploit keeps the descriptor and tries again until the program has ended.
Stopped by: init is not dumpable (identity.dumpable), Landlock, and identity: nobody inside owns the program.
"""

import os
import sys

EXPECT = {
    "says": "No such file or directory",
    "outside": "root",
    "user": "root",
    "without": ["identity.dumpable+landlock+identity"],
}

ETXTBSY = 26
try:
    os.open(f"/proc/{os.getppid()}/exe", os.O_WRONLY)
except OSError as error:
    if error.errno != ETXTBSY:
        sys.exit(f"refused: {error}")
print("BREACH: as soon as it has ended, the host's program is mine")
