"""What is told of a connection, and of a refusal: one schema, who it was, and how it would be allowed."""

from __future__ import annotations

import re
from pathlib import Path

from tests.network.attempts import ALLOWED, attended
from tests.network.world import DNS, ECHO_PORT, OPEN_PORT, OTHER, PROFILE, UDP_PORT, WEB, WEB6, World

FIELDS = {
    "time", "run_id", "pid", "layer", "name", "address", "port", "protocol", "verdict", "rule", "bytes_sent",
    "bytes_received", "reason", "times",
}  # fmt: skip


def test_one_schema_whatever_happened(world: World) -> None:
    code = f"""
def attempt(act, *arguments):
    try:
        return act(*arguments)
    except OSError:
        pass
with socket.create_connection(("pypi.example", {ECHO_PORT})) as client:
    client.sendall(b"x")
    client.recv(1)
attempt(socket.create_connection, ("dead.example", {ECHO_PORT}))
attempt(socket.create_connection, ("{OTHER}", {ECHO_PORT}))
attempt(socket.create_connection, ("{OTHER}", 9))
attempt(socket.getaddrinfo, "other.example", 1)
"""
    run = world.python(code, ALLOWED, f"dead.example:{ECHO_PORT}")
    events = [event for kind in ("connections", "refused", "failed") for event in run.network[kind]]
    assert [each["verdict"] for each in events] == ["allowed", "refused", "refused", "refused", "failed"], run.network
    assert all(set(each) == FIELDS and each["run_id"] == run.report["run_id"] for each in events)
    assert run.network["totals"]["refused"] >= 3 and run.network["dropped"] == {
        "connections": 0,
        "refused": 0,
        "unseen": 0,
    }


def test_who_it_was(world: World) -> None:
    """Of several processes, each is named, for what was allowed and for what was refused."""
    code = f"""
import os
child = os.fork()
name = "child" if child == 0 else "parent"
held = [socket.create_connection(("pypi.example" if name == "child" else "four.example", {ECHO_PORT}))]
query = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
query.sendto(struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + bytes((len(name),)) + name.encode() + b"\\4evil\\0\\0\\1\\0\\1", ("127.0.0.1", 53))
query.recv(100)
print(name, flush=True)
time.sleep(2) if child == 0 else os.waitpid(child, 0)
print("both", flush=True) if child else os._exit(0)
sys.stdin.read(1)
"""
    report = world.directory / "who.json"
    with attended(world, code, ALLOWED, f"four.example:{ECHO_PORT}", report=report) as (process, _):
        assert process.stdout
        assert {process.stdout.readline(), process.stdout.readline()} == {b"child\n", b"parent\n"}
        pids = _pids_inside(process.pid)
        assert process.stdout.readline() == b"both\n"
    network = world.read_report(report)["network"]
    child, parent = pids[max(pids)], pids[min(pids)]
    assert {each["name"]: each["pid"] for each in network["connections"]} == {
        "pypi.example": child,
        "four.example": parent,
    }
    assert {each["name"]: each["pid"] for each in network["refused"]} == {"child.evil": child, "parent.evil": parent}


def _pids_inside(supervisor: int) -> dict[int, int]:
    """Pid in the sandbox -> pid here, of all but its init."""
    found, queue = {}, [supervisor]
    while queue:
        for task in Path(f"/proc/{queue.pop()}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                queue.append(child)
                numbers = re.search(r"^NSpid:\t(.*)$", Path(f"/proc/{child}/status").read_text(), re.MULTILINE)
                assert numbers
                inside = [int(number) for number in numbers[1].split()]
                if len(inside) > 1 and inside[-1] > 1:
                    found[inside[-1]] = child
    return found


def test_the_lines_that_are_printed_allow_it(world: World) -> None:
    """Each line of stderr, as it is, in a profile: the same script then gets through."""
    code = f"""
def tcp(place, port):
    with socket.create_connection((place, port), 5) as client:
        client.sendall(b"GET /whoami HTTP/1.1\\r\\nHost: four.example\\r\\n\\r\\n")
        return client.recv(8) == b"HTTP/1.1"
def udp(place, port):
    with socket.socket(socket.AF_INET6 if ":" in place else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.sendto(b"x", (place, port))
        return client.recv(10) == b"x"
def tls(name, port):
    context = ssl._create_unverified_context()
    with socket.create_connection((name, port), 5) as client, context.wrap_socket(client, server_hostname=name):
        return True
for act, place, port in [(tls, "other.example", 443), (tcp, "four.example", 80), (tcp, "{WEB}", {OPEN_PORT}),
                         (tcp, "{WEB6}", {OPEN_PORT}), (udp, "{WEB}", {UDP_PORT}), (udp, "{WEB6}", {UDP_PORT})]:
    try:
        print(act(place, port))
    except OSError as error:
        print(type(error).__name__)
"""
    refused = world.python(code, f"{DNS}:9", f"four.example:{ECHO_PORT}")
    assert "True" not in refused.out
    lines = re.findall(r"^  to allow it, under network: allow:  (- .*)$", refused.err, re.MULTILINE)
    lines += [f"- {line}" for line in _lines_beyond_the_first(refused.network["refused"], lines)]
    assert len(lines) == 6, refused.err
    profile = world.directory / "printed.yaml"
    profile.write_text(
        f"extends: {PROFILE}\nnetwork:\n  mode: allow\n  allow:\n" + "".join(f"  {line}\n" for line in lines)
    )
    head = "import json, socket, ssl, struct, sys, time\n"
    allowed = world.run("-p", str(profile), "--", "python3", "-c", head + code)
    assert allowed.out == "True\n" * 6, (allowed.out, allowed.err, lines)


def _lines_beyond_the_first(refused: list[dict[str, object]], shown: list[str]) -> list[str]:
    """Only the first five refusals are told on stderr."""
    from hivebox.cli.network import allowing

    return [line for line in map(allowing, refused) if f"- {line}" not in shown]


def test_what_is_too_much_is_counted(world: World) -> None:
    """And what a record holds of a hostile script's words is bounded."""
    code = f"""
for number in range(300):
    try:
        socket.gethostbyname("n%d.%s.example" % (number, "x" * 60))
    except OSError:
        pass
for number in range(300):
    with socket.create_connection(("pypi.example", {ECHO_PORT})) as client:
        client.sendall(b"x")
        client.recv(1)  # otherwise the run may end before the relay has come to it
"""
    run = world.python(code, ALLOWED)
    network = run.network
    assert (len(network["refused"]), len(network["connections"])) == (200, 200)
    assert network["totals"]["refused"] == 300 == 200 + network["dropped"]["refused"], network["totals"]
    assert network["totals"]["connections"] == 300 == 200 + network["dropped"]["connections"]
    assert run.err.count("to allow it") == 5 and "network: 295 more, in the report" in run.err
