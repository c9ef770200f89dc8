"""Speak to a daemon through its socket in a directory that was granted as an overlay.

Source: as speak_to_granted_socket, by the one kind of grant that leaves Unix sockets to the script.
Stopped by: grants.overlay: the socket file seen through it is another inode, on which nobody listens; and, were it a
plain mount, syscalls.socket.
"""

import socket
import sys

EXPECT = {
    "scene": "socket_in_directory",
    "grant": "overlay",
    "args": ["{shared}"],
    "says": "Connection refused",
    "without": ["grants.overlay+syscalls.socket"],
}

try:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{sys.argv[1]}/agent.sock")
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: connected to the agent")
