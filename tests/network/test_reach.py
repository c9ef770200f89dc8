"""What an allowlist lets through, and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.network.world import DNS, ECHO_PORT, OTHER, PROFILE, SILENT_PORT, UDP_PORT, WEB, WEB6, World

ECHO = f"""
def echo(host, port={ECHO_PORT}, size=100):
    with socket.create_connection((host, port), 20) as client:
        client.sendall(b"x" * size)
        client.shutdown(socket.SHUT_WR)
        got = 0
        while data := client.recv(1 << 16):
            got += len(data)
    return got

def attempt(function, *arguments):
    try:
        print(function(*arguments))
    except OSError as error:
        print(type(error).__name__)
"""


def test_curl_reaches_the_allowed_host_and_no_other(world: World) -> None:
    ca = f"{world.directory}/ca.pem"
    curl = ("curl", "-sS", "--max-time", "10", "--cacert", ca)
    run = world.run(
        *("-p", PROFILE, "--ro", ca, "--allow-net", "pypi.example:443", "--", "sh", "-c"),
        '"$@" https://pypi.example/whoami; "$@" https://other.example/whoami; "$@" -k https://$0/whoami',
        WEB,
        *curl,
    )
    assert run.out == f"pypi.example at {WEB6}\n", (run.err, run.network)
    assert "Could not resolve host: other.example" in run.err
    assert run.refused() == {("dns", "other.example", 53), ("connect", WEB, 443)}
    (connection,) = run.network["connections"]
    assert (connection["name"], connection["port"], connection["rule"]) == ("pypi.example", 443, "pypi.example:443")
    assert connection["bytes_sent"] > 200 and connection["bytes_received"] > 500
    assert connection["address"] == WEB6 and connection["verdict"] == "allowed" and connection["reason"] == ""
    assert "to allow it, under network: allow:  - {host: other.example, ports: [443]}" in run.err
    assert "to allow it, under network: allow:  - {cidr: 203.0.113.10, ports: [443]}" in run.err


@pytest.mark.parametrize(("name", "address"), [("four.example", WEB), ("six.example", WEB6), ("halfdead.example", WEB)])
def test_both_families_outside_whatever_the_one_inside(world: World, name: str, address: str) -> None:
    """Inside, every name has an address of both; outside, whichever answers is taken (Happy Eyeballs)."""
    code = (
        ECHO
        + f"""
for family in (socket.AF_INET, socket.AF_INET6):
    host = socket.getaddrinfo("{name}", 0, family)[0][4][0]
    attempt(echo, host)
"""
    )
    run = world.python(code, f"{name}:{ECHO_PORT}")
    assert run.out == "100\n100\n", (run.err, run.network)
    assert {each["address"] for each in run.network["connections"]} == {address}


def test_a_megabyte_each_way_and_half_closed_ends(world: World) -> None:
    run = world.python(ECHO + "attempt(echo, 'pypi.example', 7000, 5_000_000)", f"pypi.example:{ECHO_PORT}")
    assert run.out == "5000000\n", (run.err, run.network)
    (connection,) = run.network["connections"]
    assert (connection["bytes_sent"], connection["bytes_received"]) == (5_000_000, 5_000_000)
    assert connection["reason"] == "host name not verified"  # a plain echo says no name


def test_addresses_and_ranges(world: World) -> None:
    code = (
        ECHO
        + f"""
for host in ("{WEB}", "{WEB6}", "{OTHER}"):
    attempt(echo, host)
"""
    )
    run = world.python(code, f"203.0.113.0/24:{ECHO_PORT}", f"[2001:db8:2::]/48:{ECHO_PORT}")
    assert run.out == "100\n100\nConnectionResetError\n", (run.err, run.network)
    assert run.refused() == {("connect", OTHER, ECHO_PORT)}
    assert {each["name"] for each in run.network["connections"]} == {""}


def test_a_wildcard_is_what_is_below_it(world: World) -> None:
    code = (
        ECHO
        + """
for host in ("a.wild.example", "b.a.wild.example", "wild.example", "awild.example"):
    attempt(echo, host)
"""
    )
    run = world.python(code, f"*.wild.example:{ECHO_PORT}")
    assert run.out == "100\n100\ngaierror\ngaierror\n", (run.err, run.network)


def test_datagrams_only_by_a_rule_of_their_own(world: World) -> None:
    code = f"""
for host in ("{WEB}", "{WEB6}", "pypi.example", "four.example", "{OTHER}"):
    try:
        family, _, _, _, address = socket.getaddrinfo(host, {UDP_PORT}, type=socket.SOCK_DGRAM)[0]
        client = socket.socket(family, socket.SOCK_DGRAM)
        client.settimeout(3)
        client.sendto(b"hello", address)
        answer, sender = client.recvfrom(100)
        print(answer.decode(), sender[:2] == address[:2])
    except OSError as error:
        print(type(error).__name__)
"""
    run = world.python(
        code,
        f"udp://{WEB}:{UDP_PORT}",
        f"udp://[{WEB6}]:{UDP_PORT}",
        f"udp://pypi.example:{UDP_PORT}",
        "four.example:7001",
    )
    assert run.out == "hello True\nhello True\nhello True\nTimeoutError\nTimeoutError\n", (run.err, run.network)
    assert {(each["protocol"], each["bytes_sent"]) for each in run.network["connections"]} == {("udp", 5)}
    assert run.refused() == {("connect", OTHER, UDP_PORT), ("connect", "four.example", UDP_PORT)}


def test_a_datagram_without_any_way_ends_nothing_else(world: World) -> None:
    """That there is none is known while the exchange is made: the relay must outlive it, and its account with it."""
    code = f"""
lost = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
lost.sendto(b"hello", ("203.0.113.77", {UDP_PORT}))
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(3)
client.sendto(b"hello", ("{WEB}", {UDP_PORT}))
print(client.recv(100))
"""
    world.call("ip", "route", "add", "unreachable", "203.0.113.77")
    try:
        run = world.python(code, f"udp://203.0.113.77:{UDP_PORT}", f"udp://{WEB}:{UDP_PORT}")
    finally:
        world.call("ip", "route", "del", "unreachable", "203.0.113.77")
    assert run.out == "b'hello'\n", (run.err, run.network)
    assert "error" not in run.network


def test_datagrams_take_the_address_to_which_there_is_a_way(world: World) -> None:
    """A name with an IPv6 address, on a host whose way there is gone."""
    code = f"""
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(3)
client.sendto(b"hello", ("pypi.example", {UDP_PORT}))
print(client.recv(100))
"""
    world.call("ip", "-6", "route", "del", "default")
    try:
        run = world.python(code, f"udp://pypi.example:{UDP_PORT}")
    finally:
        world.call("ip", "-6", "route", "add", "default", "via", "2001:db8:1::53")
    assert run.out == "b'hello'\n", (run.err, run.network)
    assert run.network["connections"][0]["address"] == WEB


def test_another_name_server_beside_the_sandboxs_own(world: World) -> None:
    code = f"""
def ask(server, name, kind):
    question = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0)
    question += b"".join(bytes((len(part),)) + part for part in name.split(b".")) + b"\\0\\0\\1\\0\\1"
    client = socket.socket(socket.AF_INET, kind)
    client.settimeout(5)
    client.connect((server, 53))
    client.send(question if kind == socket.SOCK_DGRAM else len(question).to_bytes(2, "big") + question)
    answer = client.recv(1000)[0 if kind == socket.SOCK_DGRAM else 2:]
    return answer[3] & 15
for server in ("{DNS}", "127.0.0.1"):
    print([ask(server, name, kind) for name in (b"pypi.example", b"other.example") for kind in (1, 2)])
"""
    run = world.python(code, f"udp://{DNS}:53", f"{DNS}:53", f"pypi.example:{ECHO_PORT}")
    assert run.out == "[0, 0, 0, 0]\n[0, 0, 3, 3]\n", (run.out, run.err, run.network)


def test_the_loopback_of_the_host_only_by_its_rule(world: World) -> None:
    serve = "import socket\ns = socket.create_server(('127.0.0.1', 5432))\nwhile True:\n s.accept()[0].sendall(b'db')"
    server = world.serve("python3", "-c", serve, outside=True)
    profile = world.directory / "loopback.yaml"
    rule = "{host: db.internal, host_loopback: true, ports: [5432]}"
    profile.write_text(f"extends: {PROFILE}\nnetwork: {{mode: allow, allow: [{rule}]}}\n")
    world.wait_for("127.0.0.1", 5432)
    code = (
        ECHO
        + """
import socket
def read(host):
    return socket.create_connection((host, 5432), 10).recv(10)
attempt(read, "db.internal")
attempt(read, "127.0.0.1")
attempt(read, "localhost")
"""
    )
    run = world.run("-p", str(profile), "--", "python3", "-c", code)
    assert run.out == "b'db'\nConnectionResetError\nConnectionResetError\n", (run.err, run.network)
    server.kill()


def test_nothing_is_allowed_by_an_empty_list(world: World) -> None:
    for text in ("[]", "null", ""):
        profile = world.directory / "empty.yaml"
        profile.write_text(f"extends: {PROFILE}\nnetwork:\n  mode: allow\n  allow: {text}\n")
        run = world.run("-p", str(profile), "--", "python3", "-c", ECHO + f"import socket\nattempt(echo, '{WEB}')")
        assert run.out == "OSError\n", (text, run.err)
        assert run.report["network"] is None


# -- failures: prompt, and told -----------------------------------------------------------------------------------------


def test_failures_are_prompt(world: World) -> None:
    code = (
        ECHO
        + """
start = time.monotonic()
for host in ("dead.example", "nothing.wild.example"):
    attempt(echo, host, 7000)
print(time.monotonic() - start < 40)
"""
    )
    run = world.python(code, f"dead.example:{ECHO_PORT}", f"*.wild.example:{ECHO_PORT}")
    assert run.out.endswith("True\n"), (run.out, run.err)
    reasons = {each["name"]: each["reason"] for each in run.network["failed"]}
    assert reasons["nothing.wild.example"] == "the name does not exist, or has no address"
    assert "connect: " in reasons["dead.example"] or "no answer" in reasons["dead.example"]


def test_silent_name_servers_are_given_up(world: World) -> None:
    """And a refused port of one is told at once."""
    for server, reason in ((f"{WEB}", "Connection refused"), ("203.0.113.200", "No route to host|do not answer")):
        world.resolv_conf.write_text(f"nameserver {server}\noptions timeout:1 attempts:1\n")
        try:
            code = (
                "start = time.monotonic()\n"
                + ECHO
                + "attempt(echo, 'pypi.example')\nprint(time.monotonic() - start < 8)"
            )
            run = world.python(code, f"pypi.example:{ECHO_PORT}")
        finally:
            world.resolv_conf.write_text(f"nameserver {DNS}\noptions timeout:1 attempts:1\n")
        assert run.out == "ConnectionResetError\nTrue\n", (run.out, run.err)
        (failed,) = run.network["failed"]
        assert any(each in failed["reason"] for each in reason.split("|")), failed


def test_answers_that_are_forged_cut_short_or_failures(world: World) -> None:
    script = str(Path(__file__).parent / "upstream.py")
    server = world.serve("python3", script, OTHER, WEB, stdout=subprocess.PIPE)
    assert server.stdout and server.stdout.readline() == b"up\n"
    world.resolv_conf.write_text(f"nameserver {OTHER}\noptions timeout:2 attempts:1\n")
    try:
        code = ECHO + "attempt(echo, 'pypi.example')\nattempt(echo, 'fails.example')"
        run = world.python(code, f"pypi.example:{ECHO_PORT}", f"fails.example:{ECHO_PORT}")
    finally:
        world.resolv_conf.write_text(f"nameserver {DNS}\noptions timeout:1 attempts:1\n")
        server.kill()
    assert run.out == "100\nConnectionResetError\n", (run.err, run.network)
    assert [each["address"] for each in run.network["connections"]] == [WEB]
    assert [each["reason"] for each in run.network["failed"]] == [f"the name server {OTHER} answers 2"]
    assert run.report["wall_s"] < 8


def test_name_servers_of_the_profile(world: World) -> None:
    """Asked instead of the host's, which here is a port where nobody listens."""
    world.resolv_conf.write_text(f"nameserver {WEB}\n")
    try:
        for server, out in ((DNS, "100\n"), (OTHER, "ConnectionResetError\n")):
            profile = world.directory / "dns.yaml"
            profile.write_text(f"extends: {PROFILE}\nnetwork: {{dns: [{server}]}}\n")
            code = "import socket\n" + ECHO + "attempt(echo, 'pypi.example')"
            options = ("-p", str(profile), "--allow-net", f"pypi.example:{ECHO_PORT}")
            run = world.run(*options, "--", "python3", "-c", code)
            assert run.out == out, (run.err, run.network)
            assert run.report["controls"]["network"]["dns"] == [server]
            assert all(OTHER in each["reason"] for each in run.network["failed"])
    finally:
        world.resolv_conf.write_text(f"nameserver {DNS}\noptions timeout:1 attempts:1\n")


# -- limits ---------------------------------------------------------------------------------------------------------------


def test_limits_of_a_rule(world: World) -> None:
    profile = world.directory / "limits.yaml"
    rules = f"""
    - {{host: pypi.example, ports: [{ECHO_PORT}], max_bytes: 100K}}
    - {{host: four.example, ports: [{ECHO_PORT}], rate: 100K}}
    - {{host: six.example, ports: [{SILENT_PORT}], max_connections: 2}}
"""
    profile.write_text(f"extends: {PROFILE}\nnetwork:\n  mode: allow\n  allow:{rules}")
    code = (
        "import socket, time\n"
        + ECHO
        + f"""
attempt(echo, "pypi.example", {ECHO_PORT}, 200_000)
start = time.monotonic()
attempt(echo, "four.example", {ECHO_PORT}, 150_000)
print(time.monotonic() - start > 1.5)
held = [socket.create_connection(("six.example", {SILENT_PORT})) for _ in range(2)]
time.sleep(0.3)
third = socket.create_connection(("six.example", {SILENT_PORT}))
attempt(third.recv, 1)
"""
    )
    run = world.run("-p", str(profile), "--", "python3", "-c", code)
    first, rest = run.out.split("\n", 1)  # the reset is seen by a send, or by the shutdown (ENOTCONN)
    assert first in {"ConnectionResetError", "BrokenPipeError", "OSError"}, (run.out, run.err, run.network)
    assert rest == "150000\nTrue\nConnectionResetError\n", (run.out, run.err, run.network)
    reasons = {each["reason"] for each in run.network["refused"]}
    assert reasons == {"max_bytes of 102400 reached", "max_connections of 2 reached"}
