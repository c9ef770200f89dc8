"""Names as a way out: no packet leaves for one that no rule allows."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from tests.network.attempts import ALLOWED
from tests.network.world import (
    ECHO_PORT,
    World,
)

DNS_CODE = """
def ask(*labels, kind=1, server=("127.0.0.1", 53)):
    name = b"".join(bytes((len(label),)) + label for label in labels) + b"\\0"
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(2)
    client.sendto(struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + name + struct.pack(">HH", kind, 1), server)
    answer = client.recv(1000)
    return answer[3] & 15, int.from_bytes(answer[6:8], "big")
"""
REFUSED_NAMES = [
    (b"pypi", b"example\0"), (b"pypi\0", b"example"), (b"pypi.example",), (b"pypi%2eexample",), (b"pypi", b"exampl\xc4\x93"),
    (b"secret-data-in-a-label", b"pypi", b"example"), (b"x" * 63, b"y" * 63, b"evil", b"example"), (b"evil", b"example"),
    (b"xn--pypi-", b"example"), (b"203", b"0", b"113", b"10"), (b"com",), (),
]  # fmt: skip


def test_no_packet_leaves_for_a_refused_name(world: World) -> None:
    """Captured where the name server is, which hears of the allowed name only, and only for connections."""
    process = world.serve("python3", str(Path(__file__).parent / "capture.py"), "in", "53", stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"up\n"
    kinds = (1, 28, 5, 12, 15, 16, 33, 64, 65, 255)
    code = (
        DNS_CODE
        + f"""
for labels in {REFUSED_NAMES!r}:
    for kind in {kinds}:
        print(ask(*labels, kind=kind))
for kind in {kinds}:
    print("allowed", kind, ask(b"PyPI", b"eXample", kind=kind))
assert socket.gethostbyname("pypi.example.") == socket.gethostbyname("PYPI.EXAMPLE")
for _ in range(3):
    socket.create_connection(("pypi.example", {ECHO_PORT})).close()
"""
    )
    run = world.python(code, ALLOWED)
    time.sleep(0.2)
    process.terminate()
    captured, _ = process.communicate()
    answers = run.out.splitlines()
    assert set(answers[: len(REFUSED_NAMES) * len(kinds)]) <= {"(3, 0)"}, run.out
    given = {int(line.split()[1]): line.split(maxsplit=2)[2] for line in answers if line.startswith("allowed")}
    assert given == {kind: "(0, 1)" if kind in {1, 28} else "(0, 0)" for kind in kinds}
    assert set(captured.split()) == {b"pypi.example/1", b"pypi.example/28"}, captured
    assert run.network["totals"]["refused"] == len(REFUSED_NAMES) * len(kinds)


def test_a_refused_name_would_be_asked_for_without_the_check(world: World) -> None:
    log = world.directory / "dns.log"
    before = len(log.read_text())
    world.python("attempt = socket.getaddrinfo('leak.wild.example', 80)", ALLOWED)
    assert "leak.wild" not in log.read_text()[before:]
    code = f"socket.create_connection(('leak.wild.example', {ECHO_PORT}))"
    world.python(code, "rule.example:7000", without="names")  # still no rule for it: not even then
    assert "leak.wild" not in log.read_text()[before:]
    world.python(code, "*.wild.example:7000")
    assert "leak.wild" in log.read_text()[before:]


def test_names_do_not_run_out_of_control(world: World) -> None:
    """A wildcard lets a script make up names; each costs an address, and they end."""
    code = (
        DNS_CODE
        + """
answers = [ask(b"%d" % n, b"wild", b"example") for n in range(4200)]
print(answers.count((0, 1)), answers.count((5, 0)))
"""
    )
    run = world.python(code, "*.wild.example:7000")
    assert run.out == "4096 104\n", (run.out, run.err)


def test_dns_over_tcp_and_garbage(world: World) -> None:
    code = (
        DNS_CODE
        + """
import os
question = struct.pack(">HHHHHH", 9, 0x100, 1, 0, 0, 0) + b"\\4pypi\\7example\\0\\0\\1\\0\\1"
def stream(data, pieces=1):
    client = socket.create_connection(("127.0.0.1", 53))
    client.settimeout(3)
    for at in range(0, len(data), pieces):
        client.send(data[at : at + pieces])
    return client.recv(1000)
framed = len(question).to_bytes(2, "big") + question
print(stream(framed, 1)[5] & 15, stream(framed + framed, 100)[5] & 15)
for _ in range(200):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(os.urandom(40), ("127.0.0.1", 53))
idle = [socket.create_connection(("127.0.0.1", 53)) for _ in range(100)]
print(ask(b"pypi", b"example"))
server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
server.settimeout(3)
server.sendto(question, ("::1", 53))
print(server.recv(1000)[3] & 15)
"""
    )
    run = world.python(code, ALLOWED)
    assert run.out == "0 0\n(0, 1)\n0\n", (run.out, run.err)
