"""Talk to a TCP service on the host's loopback, as databases and container daemons listen there.

Source: class of CVE-2020-15257 (host services reachable from a container that shares the network namespace).
Stopped by: namespaces.network: the sandbox's loopback is its own, and empty.
"""

import socket
import sys

EXPECT = {
    "scene": "host_listener",
    "args": ["{tcp}"],
    "says": "Connection refused",
    "without": ["namespaces.network"],
}

try:
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=1) as connection:
        print("BREACH: the host's service says", connection.recv(100))
except OSError as error:
    sys.exit(f"refused: {error}")
