"""Fork until the host has no process left. (Outside it is a small one.)

Source: the oldest denial of service there is.
Stopped by: limits.pids: the control group, or RLIMIT_NPROC where there is none.
"""

import os
import signal
import sys
import time

EXPECT = {
    "groups": "process",
    "limits": {"pids": 12},
    "outcome": "pids",
    "cause": "pids",
    "without": ["limits.pids"],
}

children = []
try:
    for _ in range(40):
        pid = os.fork()
        if pid == 0:
            time.sleep(2)
            os._exit(0)
        children.append(pid)
except OSError as error:
    time.sleep(0.3)
    sys.exit(f"refused: {error}")
for pid in children:
    os.kill(pid, signal.SIGKILL)
print("BREACH: 40 processes where 12 were allowed")
