"""Attach to another process of the run.

Source: credential theft between processes of one user; ptrace as a way around seccomp (before Linux 4.8).
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
    "violations": "ptrace",
    "without": ["syscalls.ptrace"],
}

ATTACH = 16
libc = ctypes.CDLL(None, use_errno=True)
victim = os.fork()
if victim == 0:
    time.sleep(5)
    os._exit(0)
attached = libc.ptrace(ATTACH, victim, 0, 0)
reason = os.strerror(ctypes.get_errno())
os.kill(victim, signal.SIGKILL)
os.waitpid(victim, 0)
if attached < 0:
    sys.exit(f"refused: {reason}")
print("BREACH: attached to", victim)
