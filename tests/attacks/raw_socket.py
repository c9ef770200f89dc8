"""Open a raw socket: forge packets, answer other machines' ARP and DNS.

Source: CVE-2020-14386 (af_packet, to root from CAP_NET_RAW); Kubernetes man-in-the-middle by CAP_NET_RAW.
Stopped by: syscalls (families, types and protocols are filtered) and empty capability sets.
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
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as opened:
        print("BREACH:", opened)
except OSError as error:
    sys.exit(f"refused: {error}")
