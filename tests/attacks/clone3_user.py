"""Fork into a new user namespace with clone3(2), whose flags are behind a pointer where no filter can look.

Source: moby/moby 42680; every seccomp policy that filtered clone and forgot clone3.
Stopped by: syscalls: ENOSYS from the filter itself (no event, since glibc tries clone3 for every thread); namespaces: none
may be made inside.
"""

import ctypes
import os
import sys

EXPECT = {
    "groups": "process",
    "says": "Function not implemented",
    "without": ["syscalls.clone3+namespaces.quotas"],
}

libc = ctypes.CDLL(None, use_errno=True)
CLONE3, CLONE_NEWUSER, SIGCHLD = 435, 0x10000000, 17
arguments = (ctypes.c_uint64 * 11)(CLONE_NEWUSER, 0, 0, 0, SIGCHLD)
pid = libc.syscall(CLONE3, arguments, ctypes.sizeof(arguments))
if pid == 0:
    os._exit(0)
if pid < 0:
    sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
os.waitpid(pid, 0)
print("BREACH: a child in a user namespace of its own")
