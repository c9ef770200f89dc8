"""What the scripts of these tests say, and how it is seen that one got through."""

from __future__ import annotations

from tests.network.world import ECHO_PORT, Run

ALLOWED = f"pypi.example:{ECHO_PORT}"
TRY = """
def tcp(host, port, data=b"GET /whoami HTTP/1.1\\r\\nHost: pypi.example\\r\\n\\r\\n"):
    with socket.create_connection((host, port), 5) as client:
        client.sendall(data)
        client.settimeout(5)
        return client.recv(1000)

def attempt(function, *arguments):
    try:
        answer = function(*arguments)
        print("BREACH" if answer else "nothing", answer)
    except OSError as error:
        print(type(error).__name__, error)
"""


def breached(run: Run) -> bool:
    return "BREACH" in run.out
