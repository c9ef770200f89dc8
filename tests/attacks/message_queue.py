"""Hide data in a POSIX message queue: kernel memory that no file system limit counts.

Source: mq_overview(7); denial of service.
Stopped by: rlimits.msgqueue; and Landlock, for which a queue is a file beneath no rule. Without control groups the
run is refused (syscalls.uncounted).
"""

import ctypes
import os
import sys

EXPECT = {
    "more_groups": ["@ipc"],
    "says": "Too many open files",
    "without": ["rlimits.msgqueue+landlock"],
    "polled": {
        "outcome": "not_started",
        "says": "nothing counts them",
        "without": ["syscalls.uncounted+rlimits.msgqueue+landlock"],
    },
}

libc = ctypes.CDLL(None, use_errno=True)
name = f"/hivebox-{os.getpid()}".encode()
queue = libc.mq_open(name, os.O_CREAT | os.O_RDWR, 0o600, None)
reason = os.strerror(ctypes.get_errno())
libc.mq_unlink(name)
if queue < 0:
    sys.exit(f"refused: {reason}")
print("BREACH: a message queue")
