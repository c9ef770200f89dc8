"""Leave a socket in a directory of the host, for a program that looks for one of that name.

Source: posing as an agent or daemon (SSH_AUTH_SOCK, docker.sock).
Stopped by: syscalls.socket: no Unix sockets with names where host directories are granted; and landlock: a read-write
grant has no MAKE_SOCK.
"""

import socket
import sys

EXPECT = {
    "grant": "read_write",
    "args": ["{shared}"],
    "says": "Operation not permitted",
    "violations": "socket",
    "without": ["landlock+syscalls.socket"],
}

try:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{sys.argv[1]}/agent.sock")
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: a socket of mine in a host directory")
