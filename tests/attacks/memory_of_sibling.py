"""Read the memory of another process of the run.

Source: process_vm_readv(2); password managers and agents as victims.
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
    "violations": "process_vm_readv",
    "without": ["syscalls.process_vm_readv"],
}


class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


libc = ctypes.CDLL(None, use_errno=True)
secret = ctypes.create_string_buffer(b"parent's")
ready_fd, done_fd = os.pipe()
victim = os.fork()
if victim == 0:
    secret.value = b"child's!"
    os.write(done_fd, b".")
    time.sleep(5)
    os._exit(0)
os.read(ready_fd, 1)
found = ctypes.create_string_buffer(9)
local, remote = Vector(ctypes.addressof(found), 8), Vector(ctypes.addressof(secret), 8)
count = libc.process_vm_readv(victim, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
reason = os.strerror(ctypes.get_errno())
os.kill(victim, signal.SIGKILL)
os.waitpid(victim, 0)
if count < 0:
    sys.exit(f"refused: {reason}")
print("BREACH: the other process's secret is", found.value)
