"""Open a netlink socket to netfilter, where packet rules are made.

Source: CVE-2022-25636, CVE-2023-32233, CVE-2024-1086 (nf_tables).
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
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as opened:
        print("BREACH:", opened)
except OSError as error:
    sys.exit(f"refused: {error}")
