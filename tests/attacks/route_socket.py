"""Open a netlink socket to routing: interfaces, addresses, neighbours, traffic control.

Source: CVE-2023-4623, CVE-2022-2588 (net/sched).
Stopped by: syscalls: EAFNOSUPPORT from the filter itself. No event, since getaddrinfo asks on every call.
"""

import socket
import sys

EXPECT = {
    "says": "Address family not supported",
    "without": ["syscalls.socket"],
}

try:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as opened:
        print("BREACH:", opened)
except OSError as error:
    sys.exit(f"refused: {error}")
