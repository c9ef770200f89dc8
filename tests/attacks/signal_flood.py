"""Queue signals without end: each is kernel memory.

Source: sigqueue(3); denial of service.
Stopped by: rlimits.sigpending.
"""

import ctypes
import os
import signal
import sys

EXPECT = {
    "groups": "process",
    "says": "Resource temporarily unavailable",
    "without": ["rlimits.sigpending"],
}

libc = ctypes.CDLL(None, use_errno=True)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
for _ in range(2000):
    if libc.sigqueue(os.getpid(), signal.SIGRTMIN, 0) < 0:
        sys.exit(f"refused: {os.strerror(ctypes.get_errno())}")
print("BREACH: 2000 signals are pending")
