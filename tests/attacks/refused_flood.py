"""Make refused calls without end, to keep the supervisor busy and to bury the one that matters.

Source: denial of service against seccomp user notification (seccomp_unotify(2), "caveats").
Stopped by: syscalls.kill_after.
"""

import ctypes

EXPECT = {
    "kill_after": 20,
    "outcome": "killed_by_policy",
    "cause": "syscalls",
    "violations": "io_uring_setup",
    "without": ["syscalls.kill_after"],
}

IO_URING_SETUP = 425
libc = ctypes.CDLL(None)
for _ in range(200):
    libc.syscall(IO_URING_SETUP, 0, 0)
print("BREACH: 200 calls, and nobody minded")
