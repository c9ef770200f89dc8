"""Mount a cgroup v1 hierarchy, to write its release_agent: a program that the kernel runs as root of the host.

Source: CVE-2022-0492.
Stopped by: syscalls, empty capability sets, Landlock; and the kernel, for hierarchies that exist already.
"""

import ctypes
import os
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "mount",
    "outside": "root",
}

libc = ctypes.CDLL(None, use_errno=True)
directory = os.path.abspath("rdma")
os.mkdir(directory)
# Outside this is seen in a mount namespace of its own only, and nothing is written.
libc.unshare(0x20000) if os.geteuid() == 0 else None
libc.mount(b"none", b"/", None, 0x44000, None) if os.geteuid() == 0 else None
if libc.mount(b"none", directory.encode(), b"cgroup", 0, b"memory") < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
os.close(os.open(f"{directory}/release_agent", os.O_WRONLY))
print("BREACH: release_agent is open for writing")
