"""Speak to a daemon through its socket in a directory that was granted for reading.

Source: docker.sock, gpg-agent and ssh-agent in project and home directories: root or keys for whoever connects.
Stopped by: ?
"""

import socket
import sys

EXPECT = {"scene": "socket_in_directory", "grant": "read_only", "args": ["{shared}"], "says": "Permission denied"}

with socket.socket(socket.AF_UNIX) as connection:
    try:
        connection.connect(f"{sys.argv[1]}/agent.sock")
    except OSError as error:
        sys.exit(f"refused: {error}")
print("BREACH: connected to the agent")
