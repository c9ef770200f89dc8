"""Give a listener a receive buffer of megabytes, which each connection inherits that it never accepts.

Source: SO_RCVBUF and SO_RCVLOWAT in socket(7).
Stopped by: syscalls: both are answered, and not done.
"""

import socket
import sys

EXPECT = {"without": ["syscalls.setsockopt"]}

with socket.create_server(("127.0.0.1", 0)) as listener:
    plain = listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    for option in (socket.SO_RCVLOWAT, socket.SO_RCVBUF):
        listener.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
    given = listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
if given <= plain:
    sys.exit(f"refused: {given} bytes as before")
print("BREACH:", given, "bytes for each")
