"""Start threads until the host has no process left.

Source: threads count as processes for the kernel, and are forgotten by those who count processes.
Stopped by: limits.pids.
"""

import sys
import threading
import time

EXPECT = {
    "limits": {"pids": 12},
    "outcome": "pids",
    "cause": "pids",
    "without": ["limits.pids"],
}

threading.stack_size(256 * 1024)  # small ones, for RLIMIT_DATA counts them where there is no control group
end = threading.Event()
try:
    for _ in range(40):
        threading.Thread(target=end.wait, daemon=True).start()
except RuntimeError as error:
    time.sleep(0.3)
    sys.exit(f"refused: {error}")
print("BREACH: 40 threads where 12 were allowed")
