"""Type a command into the caller's terminal, where the caller's shell will read it.

Source: bubblewrap CVE-2017-5226, su and runuser CVE-2016-2779: ioctl TIOCSTI.
Stopped by: syscalls, streams (no descriptor of the terminal), and a session of its own.
"""

import fcntl
import sys

EXPECT = {
    "scene": "callers_terminal",
    "says": "Operation not permitted",
    "violations": "ioctl",
    "absent": "CONFIG_LEGACY_TIOCSTI",
    "without": ["syscalls.ioctl+streams.stdin+streams.session"],
}

TIOCSTI, EIO = 0x5412, 5
try:
    fcntl.ioctl(0, TIOCSTI, b"!")
except OSError as error:
    if error.errno == EIO:
        print("ABSENT: TIOCSTI")
    sys.exit(f"refused: {error}")
print("BREACH: typed into the caller's terminal")
