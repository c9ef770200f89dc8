"""Speak to a daemon through its socket in a directory that was granted for reading.

Source: docker.sock, gpg-agent and ssh-agent in project and home directories: root or keys for whoever connects.
Stopped by: syscalls.socket: no Unix socket that could be connected by name where host directories are granted. (A
read-only mount does not stop connect(2), and Landlock has no right for it.)
"""

import socket
import sys

EXPECT = {
    "scene": "socket_in_directory",
    "grant": "read_only",
    "args": ["{shared}"],
    "says": "Operation not permitted",
    "violations": "socket",
    "without": ["syscalls.socket"],
}

try:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{sys.argv[1]}/agent.sock")
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: connected to the agent")
