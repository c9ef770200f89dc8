"""Take memory in three processes, each below the limit.

Source: RLIMIT_AS and RLIMIT_DATA count one process at a time.
Stopped by: limits.memory, which counts the tree.
"""

import os
import time

EXPECT = {
    "groups": "process",
    "limits": {"memory_bytes": 64_000_000},
    "outcome": "memory",
    "cause": "memory",
    "without": ["limits.memory"],
}

children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        block = os.urandom(1000) * 40_000
        time.sleep(0.6)
        os._exit(0)
    children.append(pid)
if all(os.waitpid(pid, 0)[1] == 0 for pid in children):
    print("BREACH: 120 MB where 64 were allowed")
