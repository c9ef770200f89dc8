"""Take an open descriptor out of another process.

Source: pidfd_getfd(2).
Stopped by: syscalls.
"""

import ctypes
import os
import signal
import sys
import time

EXPECT = {
    "groups": "process",
    "says": "Operation not permitted",
    "violations": "pidfd_getfd",
    "without": ["syscalls.pidfd_getfd"],
}

PIDFD_GETFD = 438
libc = ctypes.CDLL(None, use_errno=True)
victim = os.fork()
if victim == 0:
    time.sleep(5)
    os._exit(0)
stolen = libc.syscall(PIDFD_GETFD, os.pidfd_open(victim), 1, 0)
reason = os.strerror(ctypes.get_errno())
os.kill(victim, signal.SIGKILL)
os.waitpid(victim, 0)
if stolen < 0:
    sys.exit(f"refused: {reason}")
print("BREACH: the other process's standard output is my descriptor", stolen)
