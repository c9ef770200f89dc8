"""Connect to an abstract Unix socket of the host: a name without a file, which no mount hides.

Source: containerd CVE-2020-15257 (containerd-shim).
Stopped by: namespaces.network, and Landlock's scope for abstract sockets.
"""

import socket
import sys

EXPECT = {
    "scene": "abstract_listener",
    "args": ["{name}"],
    "says": "Connection refused",
    "without": ["namespaces.network+landlock"],
}

with socket.socket(socket.AF_UNIX) as connection:
    try:
        connection.connect("\0" + sys.argv[1])
    except OSError as error:
        sys.exit(f"refused: {error}")
print("BREACH: connected to a service of the host")
