"""Ignore every signal that can be ignored and stay.

Source: the plainest denial of service: a job that never ends and does not listen to SIGTERM.
Stopped by: limits.wall_time; the supervisor kills PID 1 of the namespace.
"""

import signal
import time

EXPECT = {
    "limits": {"wall_time_s": 0.4},
    "outcome": "timeout",
    "cause": "wall_time",
    "without": ["limits.wall_time"],
}

for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
end = time.monotonic() + 1.2
while time.monotonic() < end:
    time.sleep(0.1)
print("BREACH: still here three times after the limit")
