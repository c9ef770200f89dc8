"""Read what the kernel tells everyone: its command line, its modules' symbols, the host's memory.

Source: reconnaissance; CVE-2016-8867-like gaps in masked /proc paths, CVE-2025-31133.
Stopped by: rootfs.proc: subset=pid; nothing is masked because nothing is there.
"""

import sys

EXPECT = {"says": "No such file or directory", "without": ["rootfs.proc"]}

try:
    with open("/proc/cmdline") as file:
        print("BREACH:", file.read())
except OSError as error:
    sys.exit(f"refused: {error}")
