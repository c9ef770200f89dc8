"""Read what the kernel tells everyone: its command line, its modules' symbols, the host's memory.

Source: reconnaissance; runc CVE-2025-31133: masked paths of /proc that were not.
Stopped by: root.proc: subset=pid; nothing is masked because nothing is there.
"""

import sys

EXPECT = {"says": "No such file or directory", "without": ["root.proc"]}

try:
    with open("/proc/cmdline") as file:
        print("BREACH:", file.read())
except OSError as error:
    sys.exit(f"refused: {error}")
