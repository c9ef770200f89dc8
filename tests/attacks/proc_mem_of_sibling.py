"""Read the memory of another process of the run through /proc, without any of the calls that are made for it.

Source: /proc/PID/mem as ptrace by another name (CVE-2012-0056).
Stopped by: nothing. Processes of one run are not protected from each other; what is refused of ptrace and its kin is the
kernel code behind them.
"""

import ctypes
import os
import signal
import sys
import time

EXPECT = {
    "groups": "process",
    "says": "Permission denied",
    "gap": "processes of one run share a user, a Landlock domain and a PID namespace",
}

secret = ctypes.create_string_buffer(b"parent's")
ready_fd, done_fd = os.pipe()
victim = os.fork()
if victim == 0:
    secret.value = b"child's!"
    os.write(done_fd, b".")
    time.sleep(5)
    os._exit(0)
os.read(ready_fd, 1)
try:
    with open(f"/proc/{victim}/mem", "rb", buffering=0) as memory:
        memory.seek(ctypes.addressof(secret))
        print("BREACH: the other process's secret is", memory.read(8))
except OSError as error:
    sys.exit(f"refused: {error}")
finally:
    os.kill(victim, signal.SIGKILL)
    os.waitpid(victim, 0)
