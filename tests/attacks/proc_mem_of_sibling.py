"""Put code of one's own into another process of the run through /proc, without any of the calls that are made for it.

Source: /proc/PID/mem as ptrace by another name (CVE-2012-0056): it writes to read-only and executable pages too.
Stopped by: root.proc_read_only, and Landlock, which grants no writing below /proc.
"""

import ctypes
import os
import signal
import sys
import time

EXPECT = {
    "groups": "process",
    "says": "Read-only file system",
    "without": ["root.proc_read_only+landlock"],
}

memory_of_both = ctypes.create_string_buffer(b"as it was")
ready_fd, done_fd = os.pipe()
victim = os.fork()
if victim == 0:
    os.write(done_fd, b".")
    while memory_of_both.value == b"as it was":
        time.sleep(0.01)
    print("BREACH: I was made to say", memory_of_both.value, flush=True)
    os._exit(0)
os.read(ready_fd, 1)
try:
    with open(f"/proc/{victim}/mem", "r+b", buffering=0) as memory:
        memory.seek(ctypes.addressof(memory_of_both))
        memory.write(b"otherwise")
    time.sleep(0.5)
except OSError as error:
    sys.exit(f"refused: {error}")
finally:
    os.kill(victim, signal.SIGKILL)
    os.waitpid(victim, 0)
