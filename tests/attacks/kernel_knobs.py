"""Open for writing what makes the kernel run a program as root, or stop. (Opened only; nothing is written.)

Source: core_pattern (CVE-2025-31133, CVE-2025-52881), modprobe, sysrq-trigger.
Stopped by: root.proc (subset=pid has no /proc/sys), root.proc_read_only, identity (nobody inside is the host's root), and
Landlock, which grants no writing below /proc.
"""

import os
import sys

EXPECT = {
    "says": "No such file or directory",
    "outside": "root",
    "user": "root",
    "without": ["root.proc+root.proc_read_only+identity+landlock"],
}

reasons = []
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger"):
    try:
        os.close(os.open(path, os.O_WRONLY))
        print("BREACH:", path, "is open for writing")
    except OSError as error:
        reasons.append(str(error))
if len(reasons) == 3:
    sys.exit(f"refused: {reasons}")
