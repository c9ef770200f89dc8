"""Send to connections that nobody accepts: the kernel charges a socket to a control group only when it is accepted.

Source: inet_csk_accept() in the kernel; denial of service.
Stopped by: limits.memory, beside which an eighth is left to them.
"""

import socket
import time

EXPECT = {
    "limits": {"memory_bytes": 40_000_000},
    "outcome": "memory",
    "cause": "memory",
    "without": ["limits.memory"],
}

CONNECTIONS, BYTES = 2000, 50_000
listeners = []
for number in range(CONNECTIONS):
    if number % 100 == 0:
        listeners.append(socket.create_server(("127.0.0.1", 0), backlog=100))
    with socket.create_connection(listeners[-1].getsockname()) as client:
        client.sendall(b"x" * BYTES)
time.sleep(1)
for listener in listeners:
    with listener.accept()[0] as held:
        assert len(held.recv(BYTES, socket.MSG_WAITALL)) == BYTES
print("BREACH: 100 MB where 40 were allowed")
