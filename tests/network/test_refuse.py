"""Ways around the allowlist, each tried by a script that knows how it works: refused, reported, and (where a control of
hivebox's own stops it, and not the kernel alone) successful once that control is removed."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.network.world import (
    DNS,
    ECHO_PORT,
    LAN,
    NAMES,
    OPEN_PORT,
    OTHER,
    PROFILE,
    SILENT_PORT,
    UDP_PORT,
    WEB,
    WEB6,
    Run,
    World,
)  # fmt: skip

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


# -- the kernel's half ----------------------------------------------------------------------------------------------------


ALLOWED = f"pypi.example:{ECHO_PORT}"


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
        ("the name server", f"attempt(tcp, '{DNS}', 53)"),
        ("DNS over TLS", f"attempt(tcp, '{DNS}', 853)"),
        ("DNS over HTTPS", f"attempt(tcp, '{DNS}', 443)"),
        ("a synthetic address that no name has", f"attempt(tcp, '198.18.44.44', {ECHO_PORT})"),
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


@pytest.mark.parametrize(
    "code",
    [
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)",
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


# -- where a name leads ----------------------------------------------------------------------------------------------------


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


# -- for whom a connection is ----------------------------------------------------------------------------------------------


FRONTS = """
import tests_hello as hello
def tls(name, port=443, step=0, pause=0.0, more=()):
    data = hello.hello(name, *more) if name is not None else hello.records(hello.message(*more))
    with socket.create_connection(("pypi.example", port), 5) as client:
        client.settimeout(5)
        for at in range(0, len(data), step or len(data)):
            client.send(data[at : at + (step or len(data))])
            time.sleep(pause)
        return client.recv(10)
"""


def run_hello(world: World, code: str, *rules: str, without: str = "") -> Run:
    """With tls_hello.py beside the script."""
    source = Path(__file__).parents[1] / "unit" / "tls_hello.py"
    grant = ("--ro", f"{source}:/opt/tests_hello.py", "--env", "PYTHONPATH=/opt")
    return world.python(TRY + FRONTS + code, *rules, without=without, options=grant)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("attempt(tls, 'other.example')", "the ClientHello names other.example"),
        ("attempt(tls, 'other.example', 443, 1)", "the ClientHello names other.example"),
        ("attempt(tls, None)", "the ClientHello names no server"),
        ("attempt(tls, 'pypi.example', 443, 0, 0.0, ((0xfe0d, b'x'),))", "the ClientHello may name another server"),
        ("attempt(tls, 'pypi.example.')", "the server name is no host name"),
        ("attempt(tls, 'pypi.example\\0.other.example')", "the server name is no host name"),
        ("attempt(tcp, 'pypi.example', 443)", "not TLS"),
        (f"attempt(tls, 'other.example', {ECHO_PORT})", "the ClientHello names other.example"),
    ],
)
def test_fronting_by_tls(world: World, code: str, reason: str) -> None:
    """One address serves many hosts: what is not said to be for the allowed one does not leave."""
    allowed = f"pypi.example:443,{ECHO_PORT}"
    run = run_hello(world, code, allowed)
    assert run.out and not breached(run), run.out
    (refused,) = run.network["refused"]
    assert refused["layer"] == "sni" and refused["reason"].startswith(reason), refused
    if reason == "not TLS":
        return  # whatever is sent, that server answers nothing
    control = "ech" if "0xfe0d" in code else "first_bytes"
    assert breached(run_hello(world, code, allowed, without=control)), "the control is not what stops it"


def test_a_hello_cut_into_pieces_is_read(world: World) -> None:
    run = run_hello(world, "attempt(tls, 'pypi.example', 443, 3, 0.005)", "pypi.example:443")
    assert breached(run), (run.out, run.network)  # which it is not: it is for the allowed host
    assert run.network["connections"][0]["reason"] == ""


def test_a_slow_hello_is_given_up(world: World) -> None:
    code = """
start = time.monotonic()
attempt(tls, 'pypi.example', 443, 1, 0.2)
print(time.monotonic() - start < 14)
"""
    run = run_hello(world, code, "pypi.example:443")
    assert not breached(run) and run.out.endswith("True\n"), run.out
    (refused,) = run.network["refused"]
    assert refused["reason"] == "no name within 10 seconds"


def test_a_second_hello_must_name_the_same_host(world: World, tmp_path: Path) -> None:
    """A server that asks for another ClientHello (HelloRetryRequest) may go by the name in the second."""
    server = tmp_path / "retry.py"
    unit = Path(__file__).parents[1] / "unit"
    server.write_text(
        f"""
import socket, sys
sys.path.insert(0, "{unit}")
import tls_hello
s = socket.create_server(("{OTHER}", 8443))
while True:
    c, _ = s.accept()
    try:
        c.recv(4096)
        c.sendall(tls_hello.retry())
        got = c.recv(4096)
        c.sendall(b"got " + got)
    except OSError:
        pass
    c.close()
"""
    )
    process = world.serve("python3", str(server))
    world.wait_for(OTHER, 8443)
    code = """
def again(second, together):
    with socket.create_connection(("other.example", 8443), 5) as client:
        client.settimeout(5)
        first = hello.hello("other.example")
        follows = b"\\x14\\x03\\x03\\0\\1\\1" + hello.hello(second)
        client.sendall(first + follows if together else first)
        answer = client.recv(1000)
        if not together:
            client.sendall(follows)
        while b"got" not in answer:
            data = client.recv(4096)
            if not data:
                return b""
            answer += data
        return answer[-40:]
"""
    try:
        for together in (False, True):
            allowed = run_hello(world, code + f"attempt(again, 'other.example', {together})", "other.example:8443")
            assert breached(allowed), (allowed.out, allowed.network)
            run = run_hello(world, code + f"attempt(again, 'pypi.example', {together})", "other.example:8443")
            assert run.out and not breached(run), run.out
            assert {each["reason"] for each in run.network["refused"]} == {"the ClientHello names pypi.example"}
        weak = run_hello(world, code + "attempt(again, 'pypi.example', False)", "other.example:8443", without="retry")
        assert breached(weak)
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("GET / HTTP/1.1\\r\\nHost: other.example\\r\\n\\r\\n", "the request is for other.example"),
        ("GET http://other.example/ HTTP/1.1\\r\\nHost: pypi.example\\r\\n\\r\\n", "the request is for other.example"),
        (
            "CONNECT other.example:443 HTTP/1.1\\r\\nHost: pypi.example\\r\\n\\r\\n",
            "the request is for other.example:443",
        ),
        ("GET / HTTP/1.1\\r\\n\\r\\n", "no Host field"),
        ("GET / HTTP/1.1\\r\\nHost: pypi.example\\r\\nHost: other.example\\r\\n\\r\\n", "more than one Host field"),
        ("GET / HTTP/1.0\\n\\n", "not"),
        ("SSH-2.0-x\\r\\n\\r\\n", "not an HTTP/1 request"),
    ],
)
def test_fronting_by_http(world: World, head: str, reason: str) -> None:
    code = f"attempt(tcp, 'pypi.example', 80, b'{head}')"
    run = world.python(TRY + code, "pypi.example:80")
    assert run.out and not breached(run), run.out
    if "HTTP/1.0\\n" in head:  # never ends: refused when its time is over, or when the client gives up
        return
    (refused,) = run.network["refused"]
    assert refused["layer"] == "host" and refused["reason"].startswith(reason), refused
    weak = world.python(TRY + code, "pypi.example:80", without="first_bytes")
    assert breached(weak), weak.out


def test_a_request_for_the_host_passes(world: World) -> None:
    code = "attempt(tcp, 'pypi.example', 80)"
    run = world.python(TRY + code, "pypi.example:80")
    assert breached(run), (run.out, run.network)  # which it is not
    (connection,) = run.network["connections"]
    assert "not verified" not in connection["reason"]  # who ends first, client or run, is a race


def test_being_led_on_by_a_proxy_is_recorded(world: World) -> None:
    code = f"attempt(tcp, 'pypi.example', {OPEN_PORT}, b'CONNECT evil.example:443 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')"
    run = world.python(TRY + code, f"pypi.example:{OPEN_PORT}")
    (connection,) = run.network["connections"]
    assert connection["reason"] == "asks to be led on to evil.example:443; host name not verified"


# -- names -----------------------------------------------------------------------------------------------------------------


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


# -- floods ---------------------------------------------------------------------------------------------------------------


def test_a_flood_of_connections_starves_nobody(world: World) -> None:
    """Ten thousand, of which no more than 1024 are held; the clock and an honest connection go on."""
    code = f"""
start = time.monotonic()
held, refused = [], 0
for _ in range(10_000):
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex((ADDRESS, {SILENT_PORT}))
    held.append(client)
    if len(held) > 900:
        held.pop(0).close()
print("done", time.monotonic() - start < 80)
held.clear()
time.sleep(0.5)
print(tcp("pypi.example", {ECHO_PORT}, b"x"))
""".replace("ADDRESS", "socket.gethostbyname('six.example')")
    run = world.python(TRY + code, ALLOWED, f"six.example:{SILENT_PORT}", options=("--timeout", "100s"))
    assert run.out == "done True\nb'x'\n", (run.out, run.err)


def test_a_thousand_connections_are_held(world: World) -> None:
    code = f"""
address = socket.gethostbyname("pypi.example")
held = [socket.create_connection((address, {ECHO_PORT})) for _ in range(960)]
for number, client in enumerate(held):
    client.sendall(b"%04d" % number)
print(all(client.recv(4) == b"%04d" % number for number, client in enumerate(held)))
"""
    run = world.python(code, ALLOWED)
    assert run.out == "True\n", (run.out, run.err, run.network["totals"])


def test_a_flood_of_attempts_is_counted_not_kept(world: World) -> None:
    code = """
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(20_000):
    try:
        client.sendto(b"x", ("198.51.%d.%d" % (number // 250 % 250, number % 250), 9))
    except OSError:
        pass
print("done")
"""
    run = world.python(code, ALLOWED)
    network = run.network
    assert run.out == "done\n"
    assert len(network["refused"]) <= 200
    assert network["dropped"]["refused"] + network["dropped"]["unseen"] > 1000, network["dropped"]


def test_clients_that_do_not_read_or_write(world: World) -> None:
    """Neither stops another one, nor the end of the run."""
    code = f"""
greedy = socket.create_connection(("pypi.example", {ECHO_PORT}))
greedy.setblocking(False)
try:
    while True:
        greedy.send(b"x" * 65536)
except BlockingIOError:
    pass
silent = [socket.create_connection(("pypi.example", {SILENT_PORT})) for _ in range(20)]
print(tcp("pypi.example", {ECHO_PORT}, b"x"))
"""
    run = world.python(TRY + code, f"pypi.example:{ECHO_PORT},{SILENT_PORT}")
    assert run.out == "b'x'\n", (run.out, run.err)
    assert run.report["wall_s"] < 10


# -- the relay itself -------------------------------------------------------------------------------------------------------


def test_the_relay_dies_with_the_supervisor(world: World) -> None:
    marker = f"relay-{os.getpid()}"
    command = world.command(
        "run",
        "-p",
        PROFILE,
        "--allow-net",
        ALLOWED,
        "--",
        "python3",
        "-c",
        f"import time; '{marker}'; print('up', flush=True); time.sleep(60)",
    )
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE)

    def relays() -> list[int]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (entry / "comm").read_text() == "hivebox-net\n" and marker in (entry / "cmdline").read_text():
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found

    assert process.stdout and process.stdout.readline() == b"up\n"
    (relay,) = relays()
    status = Path(f"/proc/{relay}/status").read_text()
    assert "NoNewPrivs:\t1" in status and "CapEff:\t0000000000000000" in status
    if world.is_root:
        assert "Uid:\t65534" in status
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 20
    while relays():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_relay_that_is_killed_is_reported(world: World) -> None:
    code = "print('up', flush=True)\nsys.stdin.readline()"
    report = world.directory / "killed.json"
    command = world.command(
        "run", "-p", PROFILE, "--stdin", "inherit", "--report", str(report), "--allow-net", ALLOWED, "--", "python3", "-c",
        "import sys\n" + code,
    )  # fmt: skip
    process = subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout and process.stdout.readline() == b"up\n"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        if Path(f"/proc/{child}/comm").read_text() == "hivebox-net\n":
            os.kill(int(child), 9)
    _, errors = process.communicate(b"\n", timeout=30)
    assert b"the relay died" in errors
