"""Open a packet socket: see and send whole frames.

Source: CVE-2020-14386, CVE-2017-7308.
Stopped by: syscalls and empty capability sets.
"""

import socket
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "socket",
    "outside": "netns",
    "without": ["syscalls.socket+privileges.capabilities"],
}

try:
    with socket.socket(17, socket.SOCK_RAW, 0) as opened:
        print("BREACH:", opened)
except OSError as error:
    sys.exit(f"refused: {error}")
