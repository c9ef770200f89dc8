"""Send a datagram to a daemon's socket in a granted directory from one end of a socket pair, which needs no socket(2).

Source: unix(7): a datagram socket that is connected can be connected again, and can send to any other name.
Stopped by: syscalls.socketpair: pairs of streams and of packets only, which stay connected to each other.
"""

import socket
import sys

EXPECT = {
    "scene": "socket_in_directory",
    "grant": "read_only",
    "args": ["{shared}"],
    "says": "Operation not permitted",
    "violations": "socketpair",
    "without": ["syscalls.socketpair"],
}

try:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.sendto(b"do as I say", f"{sys.argv[1]}/log.sock")
except OSError as error:
    sys.exit(f"refused: {error}")
print("BREACH: sent to the daemon")
