"""Carry data out through the host's resolver: a UDP question to 127.0.0.x is all it takes.

Source: DNS tunnelling (MITRE ATT&CK T1071.004); systemd-resolved on 127.0.0.53.
Stopped by: namespaces.network.
"""

import socket
import sys

EXPECT = {
    "scene": "host_listener",
    "args": ["{udp}"],
    "says": "Connection refused",
    "without": ["namespaces.network"],
}

with socket.socket(type=socket.SOCK_DGRAM) as client:
    client.settimeout(1)
    client.connect(("127.0.0.1", int(sys.argv[1])))
    try:
        client.send(b"secret.example.com")
        print("BREACH: the resolver answers", client.recv(100))
    except OSError as error:
        sys.exit(f"refused: {error}")
