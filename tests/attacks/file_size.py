"""Write one file without end.

Source: denial of service (CWE-400).
Stopped by: rlimits.fsize.
"""

import signal

EXPECT = {
    "limits": {"file_size_bytes": 1_000_000},
    "outcome": "signaled",
    "cause": "file_size",
    "without": ["rlimits.fsize"],
}

signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
with open("big", "wb", buffering=0) as file:
    for _ in range(4):
        file.write(b"x" * 1_000_000)
print("BREACH: 4 MB where 1 was allowed")
