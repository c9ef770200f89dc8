"""Walk into the root directory of the sandbox's own init.

Source: runc CVE-2016-9962, LXC CVE-2016-8649; /proc/1/root is what many escapes read first.
Stopped by: init is not dumpable (identity.dumpable) and Landlock; proc then hides it (hidepid=ptraceable).
"""

import os
import sys
import time

EXPECT = {
    "says": "No such file or directory",
    "outside": "shell",
    "without": ["identity.dumpable+landlock"],
}

deadline = time.monotonic() + 0.5
while True:  # init may still be giving up its own privileges, which it does beside us
    try:
        print("BREACH:", os.listdir(f"/proc/{os.getppid()}/root")[:100])
        break
    except OSError as error:
        if time.monotonic() > deadline:
            sys.exit(f"refused: {error}")
        time.sleep(0.01)
