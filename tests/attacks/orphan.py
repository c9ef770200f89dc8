"""Leave a process behind: fork twice, start a session, close everything.

Source: daemon(7); what survives `timeout` and every supervisor that waits for one process.
Stopped by: namespaces.pid: the end of PID 1 is the end of every process, and init ends with the payload.
"""

import os
import sys
import time

EXPECT = {
    "groups": "process",
    "scene": "orphan",
    "args": ["{token}"],
    "outcome": "ok",
    "without": ["namespaces.pid"],
}

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 64)
        time.sleep(20)
    os._exit(0)
os.wait()
