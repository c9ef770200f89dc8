"""Ask for a way to an address of the Internet. (Connecting a datagram socket sends nothing. Outside, it is tried in a
network namespace of its own to which the address was given.)

Source: exfiltration (MITRE ATT&CK T1041); 169.254.169.254 and its cloud credentials.
Stopped by: namespaces.network: there is no interface but lo, and no route.
"""

import socket
import sys

EXPECT = {"says": "Network is unreachable", "outside": "netns"}

with socket.socket(type=socket.SOCK_DGRAM) as client:
    try:
        client.connect(("198.51.100.1", 53))
    except OSError as error:
        sys.exit(f"refused: {error}")
    print("BREACH: there is a way out from", client.getsockname())
