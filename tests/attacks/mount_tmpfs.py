"""Mount a file system over what the sandbox prepared.

Source: Mount tricks after a user namespace escape; cgroup v1 release_agent (CVE-2022-0492) begins with a mount.
Stopped by: syscalls, empty capability sets, and Landlock, which freezes the mounts of whom it restricts.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "mount",
    "outside": "userns",
    "without": ["syscalls.mount+privileges.capabilities+landlock"],
}

libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: mounted on /tmp")
