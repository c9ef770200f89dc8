"""Fork into a new user namespace: clone(2) is allowed, but not with this flag.

Source: As unshare_user; CVE-2022-0185.
Stopped by: syscalls: the flags of clone are filtered.
"""

import ctypes
import os
import sys

EXPECT = {
    "groups": "process",
    "says": "Operation not permitted",
    "violations": "clone",
    "without": ["syscalls.clone+namespaces.quotas"],
}

libc = ctypes.CDLL(None, use_errno=True)
CLONE = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
CLONE_NEWUSER, SIGCHLD = 0x10000000, 17
pid = libc.syscall(CLONE, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)
if pid == 0:
    os._exit(0)
if pid < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
os.waitpid(pid, 0)
print("BREACH: a child in a user namespace of its own")
