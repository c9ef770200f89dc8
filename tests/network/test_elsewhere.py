"""Ways to reach what no rule names, each tried by a script that knows how it works: refused, reported, and (where a control
of hivebox's own stops it, and not the kernel alone) successful once that control is removed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.network.attempts import ALLOWED, TRY, breached
from tests.network.world import (
    DNS,
    ECHO_PORT,
    LAN,
    NAMES,
    OTHER,
    UDP_PORT,
    WEB,
    WEB6,
    World,
)

# -- the kernel's half -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("the address of an allowed host", f"attempt(tcp, '{WEB}', {ECHO_PORT})"),
        ("the same over IPv6", f"attempt(tcp, '{WEB6}', {ECHO_PORT})"),
        ("another port of an allowed host", "attempt(tcp, 'pypi.example', 80)"),
        ("a mapped address", f"attempt(tcp, '::ffff:{WEB}', {ECHO_PORT})"),
        ("an address as a number", f"attempt(tcp, str(int.from_bytes(socket.inet_aton('{WEB}'), 'big')), {ECHO_PORT})"),
        ("an address in octal", f"attempt(tcp, '0313.0.0161.012', {ECHO_PORT})"),
        ("the host's own address", f"attempt(tcp, '{LAN}', {ECHO_PORT})"),
        ("the host's own address over IPv6", f"attempt(tcp, '2001:db8:1::1', {ECHO_PORT})"),
        ("the name server", f"attempt(tcp, '{DNS}', 53)"),
        ("DNS over TLS", f"attempt(tcp, '{DNS}', 853)"),
        ("DNS over HTTPS", f"attempt(tcp, '{DNS}', 443)"),
        ("a synthetic address that no name has", f"attempt(tcp, '198.18.44.44', {ECHO_PORT})"),
        ("an address in hexadecimal", f"attempt(tcp, '0x' + socket.inet_aton('{WEB}').hex(), {ECHO_PORT})"),
        ("this host", f"attempt(tcp, '0.0.0.0', {ECHO_PORT})"),
    ],
)
def test_connecting_elsewhere(world: World, name: str, code: str) -> None:
    run = world.python(TRY + code, ALLOWED)
    assert run.out and not breached(run), (name, run.out)
    refused = run.network["refused"]
    assert refused and all(each["layer"] == "connect" and each["port"] for each in refused), (name, run.network)
    assert run.network["totals"]["connections"] == 0


@pytest.mark.parametrize(
    "code",
    [
        # A socket that is connected to an allowed host, disconnected, and connected elsewhere.
        f"""
client = socket.create_connection(("pypi.example", {ECHO_PORT}))
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.connect(client.fileno(), struct.pack("=H14x", 0), 16)
def again():
    client.connect(("{OTHER}", {ECHO_PORT}))
    client.sendall(b"x")
    return client.recv(10)
attempt(again)
""",
        # Data in the first packet, without a connect.
        f"""
def fast():
    client = socket.socket()
    client.sendto(b"x", 0x20000000, ("{OTHER}", {ECHO_PORT}))
    client.settimeout(3)
    return client.recv(10)
attempt(fast)
""",
        f"""
def multipath():
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
    client.connect(("{OTHER}", {ECHO_PORT}))
    client.sendall(b"x")
    return client.recv(10)
attempt(multipath)
""",
    ],
    ids=["AF_UNSPEC", "MSG_FASTOPEN", "MPTCP"],
)
def test_ways_to_connect(world: World, code: str) -> None:
    run = world.python(TRY + code, ALLOWED)
    assert run.out and not breached(run), run.out
    assert ("connect", OTHER, ECHO_PORT) in run.refused() or "PermissionError" in run.out


def test_datagrams_elsewhere(world: World) -> None:
    """sendto, sendmsg and sendmmsg, connected and not; to an allowed TCP host too."""
    code = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def datagram(how, host):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(1)
    address = (socket.gethostbyname(host), {UDP_PORT})
    if how == "connect":
        client.connect(address)
        client.send(b"x")
    elif how == "sendto":
        client.sendto(b"x", address)
    elif how == "sendmsg":
        client.sendmsg([b"x"], [], 0, address)
    else:
        name = struct.pack("=H", socket.AF_INET) + struct.pack(">H4s8x", address[1], socket.inet_aton(address[0]))
        data = ctypes.create_string_buffer(b"x")
        target = ctypes.create_string_buffer(name)
        vector = ctypes.create_string_buffer(struct.pack("=QQ", ctypes.addressof(data), 1))
        header = struct.pack("=QI4xQQQQi4xI4x", ctypes.addressof(target), 16, ctypes.addressof(vector), 1, 0, 0, 0, 0)
        assert libc.sendmmsg(client.fileno(), ctypes.create_string_buffer(header), 1, 0) == 1
    return client.recv(10)
for how in ("connect", "sendto", "sendmsg", "sendmmsg"):
    for host in ("{OTHER}", "{WEB}", "pypi.example", "{DNS}"):
        attempt(datagram, how, host)
"""
    run = world.python(TRY + code, ALLOWED)
    assert run.out.count("\n") == 16 and not breached(run), (run.out, run.err)
    assert {each[1] for each in run.refused()} == {OTHER, WEB, "pypi.example", DNS}
    assert all(each["protocol"] == "udp" for each in run.network["refused"])
    assert sum(each["times"] for each in run.network["refused"]) == 16


def test_quic_is_no_way_around_the_rule_for_tls(world: World) -> None:
    code = """
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(1)
client.connect(("pypi.example", 443))
attempt(lambda: client.send(b"\\xc0" + bytes(1199)) and client.recv(10))
"""
    run = world.python(TRY + code, "pypi.example:443")
    assert not breached(run)
    (refused,) = run.network["refused"]
    assert (refused["name"], refused["port"], refused["protocol"]) == ("pypi.example", 443, "udp")


@pytest.mark.parametrize(
    "code",
    [
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136)",  # UDP-Lite
        "socket.socket(socket.AF_INET, 6, 33)",  # DCCP
        "socket.socket(44, socket.SOCK_RAW)",  # XDP
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP).setsockopt(socket.IPPROTO_TCP, 31, b'tls')",
        "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
    ],
)
def test_sockets_that_see_or_change_the_network(world: World, code: str) -> None:
    run = world.python(f"try:\n {code}\n print('BREACH')\nexcept OSError as error:\n print(error.errno)", ALLOWED)
    assert run.out and not breached(run), run.out


def test_the_payload_holds_no_socket_of_the_host(world: World) -> None:
    code = """
import os
for each in os.listdir("/proc/self/fd"):
    try:
        print(each, os.readlink(f"/proc/self/fd/{each}"))
    except OSError:
        pass
"""
    run = world.python(code, ALLOWED)
    held = dict(line.split() for line in run.out.splitlines())
    assert held["0"] == "/dev/null" and set(held) == {"0", "1", "2"}, run.out
    assert all(held[each].startswith("pipe:") for each in "12"), run.out


# -- where a name leads ------------------------------------------------------------------------------------------------


TRAPS = ["loopback.example", "metadata.example", "private.example", "mapped.example"]


@pytest.mark.parametrize("name", [*TRAPS, "lan.example"])
def test_a_name_leads_to_no_place_of_the_hosts(world: World, name: str) -> None:
    """DNS rebinding. Each trap can be reached from the host, and is once the check is removed."""
    assert all(NAMES[name])
    listener = (
        f"import socket\ns = socket.create_server(('::', {ECHO_PORT}), family=socket.AF_INET6, dualstack_ipv6=True)\n"
    )
    server = world.serve("python3", "-c", listener + "while True:\n s.accept()[0].sendall(b'secret')", outside=True)
    try:
        world.wait_for("127.0.0.1", ECHO_PORT)
        code = TRY + f"attempt(tcp, '{name}', {ECHO_PORT})"
        run = world.python(code, f"{name}:{ECHO_PORT}")
        assert run.out and not breached(run), run.out
        for refused in run.network["refused"]:
            assert refused["name"] == name and refused["reason"].startswith("leads to "), refused
        control = "own_addresses" if name == "lan.example" else "addresses"
        if name != "mapped.example":  # nothing answers there on any host
            weak = world.python(code, f"{name}:{ECHO_PORT}", without=control)
            assert breached(weak) == (name != "loopback.example"), (
                weak.out,
                weak.network,
            )  # own addresses: a second lock
    finally:
        server.kill()


def test_of_several_addresses_only_the_good_are_used(world: World) -> None:
    run = world.python(TRY + f"attempt(tcp, 'mixed.example', {ECHO_PORT})", f"mixed.example:{ECHO_PORT}")
    assert {each["address"] for each in run.network["connections"]} == {WEB}


def test_a_special_address_is_reached_when_a_rule_names_it(world: World) -> None:
    code = TRY + f"attempt(tcp, 'private.example', {ECHO_PORT})\nattempt(tcp, '10.9.8.7', {ECHO_PORT})"
    run = world.python(code, f"private.example:{ECHO_PORT}", f"10.0.0.0/8:{ECHO_PORT}")
    assert run.out.count("BREACH") == 2, (run.out, run.network)  # which here it is not
    wide = world.python(code, f"private.example:{ECHO_PORT}", f"0.0.0.0/0:{ECHO_PORT}")
    assert not breached(wide)


def test_a_range_does_not_reach_the_host_itself(world: World) -> None:
    """Of a rule about the host's own network its own address is left out, unless a rule names exactly that."""
    serve = f"import socket\ns = socket.create_server(('{LAN}', {ECHO_PORT}))\nwhile True:\n s.accept()[0].sendall(b'secret')"
    server = world.serve("python3", "-c", serve, outside=True)
    try:
        world.wait_for(LAN, ECHO_PORT)
        code = TRY + f"attempt(tcp, '{LAN}', {ECHO_PORT})"
        run = world.python(code, f"192.0.2.0/24:{ECHO_PORT}")
        assert not breached(run)
        (refused,) = run.network["refused"]
        assert (refused["address"], refused["reason"]) == (LAN, "an address of this host")
        assert breached(world.python(code, f"192.0.2.0/24:{ECHO_PORT}", without="own_addresses"))
        assert breached(world.python(code, f"{LAN}:{ECHO_PORT}"))
    finally:
        server.kill()


def test_an_answer_that_changes_is_not_asked_for_twice(world: World, tmp_path: Path) -> None:
    """A server that says a public address first and 127.0.0.1 ever after: what was looked at is what is connected to."""
    server = tmp_path / "changing.py"
    server.write_text(
        f"""
import socket, struct
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::ffff:{OTHER}", 53))
asked = 0
print("up", flush=True)
while True:
    m, a = s.recvfrom(512)
    kind = m[12 + m[12:].index(0) + 2]
    ip = socket.inet_aton("{WEB}" if asked < 1 else "127.0.0.1")
    end = 12 + m[12:].index(0) + 5
    record = b"\\xc0\\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + ip if kind == 1 else b""
    asked += kind == 1
    s.sendto(m[:2] + b"\\x81\\x80" + struct.pack(">HHHH", 1, bool(record), 0, 0) + m[12:end] + record, a)
"""
    )
    process = world.serve("python3", str(server), stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"up\n"
    world.resolv_conf.write_text(f"nameserver {OTHER}\n")
    try:
        code = TRY + f"for _ in range(3): attempt(tcp, 'pypi.example', {ECHO_PORT})"
        run = world.python(code, ALLOWED)
    finally:
        world.resolv_conf.write_text(f"nameserver {DNS}\noptions timeout:1 attempts:1\n")
        process.kill()
    assert run.out.count("BREACH") == 1, (run.out, run.network)
    assert {each["address"] for each in run.network["connections"]} == {WEB}
    assert {each["reason"] for each in run.network["refused"]} == {"leads to 127.0.0.1: loopback"}, (
        run.out,
        run.network,
    )
