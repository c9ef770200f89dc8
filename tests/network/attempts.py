"""What the scripts of these tests say, and how it is seen that one got through."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.network.world import ECHO_PORT, PROFILE, Run, World

ROOT = Path(__file__).parents[2]

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


@contextmanager
def attended(
    world: World, code: str, *rules: str, report: Path | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A sandbox that runs meanwhile, and the pid of its relay; it should wait for its stdin, which ends with this."""
    allow = [word for rule in rules for word in ("--allow-net", rule)]
    options = ["run", "-p", PROFILE, "--stdin", "inherit", *allow]
    options += ["--report", str(report)] if report else []
    command = world.command(*options, "--", "python3", "-c", "import socket, struct, sys, time\n" + code)
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        yield process, relay_of(process.pid)
        process.communicate(b"\n", timeout=30)
    finally:
        process.kill()
        process.communicate()


def relay_of(supervisor: int) -> int:
    """Waits for it."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for child in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text() == "hivebox-net\n":
                return int(child)
        time.sleep(0.01)
    raise AssertionError("no relay")


def resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
