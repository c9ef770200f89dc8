"""Speak to a daemon through its socket in a directory that was granted for reading.

Source: docker.sock, gpg-agent and ssh-agent in project and home directories: root or keys for whoever connects.
Stopped by: nothing but the mode of the socket. A read-only mount does not stop connect(2), and Landlock (ABI 7) has no
right for it: whoever grants a directory grants the sockets in it.
"""

import socket
import sys

EXPECT = {
    "scene": "socket_in_directory",
    "grant": "read_only",
    "args": ["{shared}"],
    "says": "Permission denied",
    "gap": "no mount flag and no Landlock right of this kernel covers connect(2) to a socket file",
}

with socket.socket(socket.AF_UNIX) as connection:
    try:
        connection.connect(f"{sys.argv[1]}/agent.sock")
    except OSError as error:
        sys.exit(f"refused: {error}")
print("BREACH: connected to the agent")
