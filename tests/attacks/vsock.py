"""Open an AF_VSOCK socket: the way from a guest to its hypervisor, which no network namespace closes.

Source: CVE-2021-26708, CVE-2025-21756; agents of clouds that listen on vsock.
Stopped by: syscalls.
"""

import socket
import sys

EXPECT = {
    "says": "Operation not permitted",
    "violations": "socket",
    "without": ["syscalls.socket"],
}

try:
    with socket.socket(40, socket.SOCK_STREAM) as opened:
        print("BREACH:", opened)
except OSError as error:
    sys.exit(f"refused: {error}")
