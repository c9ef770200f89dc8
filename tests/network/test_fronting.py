"""For whom a connection is: what is not for the host that was allowed does not leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.network.attempts import TRY, breached
from tests.network.world import (
    ECHO_PORT,
    OPEN_PORT,
    OTHER,
    Run,
    World,
)

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

def records(size):
    data = hello.records(hello.message((0, hello.server_name(b"other.example"))), size)
    return tcp("pypi.example", 443, data)
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
        ("attempt(records, 1)", "the ClientHello names other.example"),
        ("attempt(records, 30)", "the ClientHello names other.example"),
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


def test_a_request_cut_into_pieces(world: World) -> None:
    """Segments of one byte each: for the allowed host it passes, for another not."""
    code = """
def slowly(host):
    with socket.create_connection(("pypi.example", 80), 5) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET /whoami HTTP/1.1\\r\\nHost: %s\\r\\n\\r\\n" % host:
            client.send(bytes((byte,)))
            time.sleep(0.001)
        client.shutdown(socket.SHUT_WR)
        return client.recv(1000)[:12]
for host in (b"pypi.example", b"other.example"):
    attempt(slowly, host)
"""
    run = world.python(TRY + code, "pypi.example:80")
    assert run.out.startswith("BREACH b'HTTP/1.1 200'\n") and run.out.count("BREACH") == 1, (
        run.out
    )  # the first is allowed
    assert {each["reason"] for each in run.network["refused"]} == {"the request is for other.example"}


LATER = """
import re
GOOD = b"GET /whoami HTTP/1.1\\r\\nHost: pypi.example\\r\\n\\r\\n"
def later(*pieces):
    with socket.create_connection(("pypi.example", 80), 5) as client:
        client.settimeout(5)
        got = b""
        for piece in pieces:
            client.sendall(piece)
            time.sleep(0.2)
            got += client.recv(4096)
        return got if b"other.example at" in got else b""
OTHER = GOOD.replace(b"pypi", b"other")
"""


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ("GOOD, OTHER", "the request is for other.example"),
        ("GOOD + OTHER", "the request is for other.example"),
        ("GOOD[:-2] + b'Connection: upgrade\\r\\nUpgrade: h2c\\r\\n\\r\\n', OTHER", "the request is for other.example"),
        (
            "b'POST /x HTTP/1.1\\r\\nHost: pypi.example\\r\\nContent-Length: 1\\r\\n\\r\\nx' + OTHER",
            "the request is for other.example",
        ),
        ("b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n' + OTHER", "not an HTTP/1 request"),
        ("GOOD + b'\\r\\n' + OTHER", "something that is no request follows a request"),
    ],
)
def test_fronting_by_a_later_request(world: World, pieces: str, reason: str) -> None:
    """Keep-alive, pipelining, a body before it, an upgrade that is not taken, HTTP/2 without asking."""
    code = TRY + LATER + f"attempt(later, {pieces})"
    run = world.python(code, "pypi.example:80")
    assert run.out and not breached(run), run.out
    (refused,) = run.network["refused"]
    assert refused["layer"] == "host" and refused["reason"].startswith(reason), refused
    if reason.startswith("the request"):
        weak = world.python(code, "pypi.example:80", without="first_bytes")
        assert breached(weak), weak.out


def test_later_requests_for_the_host_pass(world: World) -> None:
    """Also after bodies of either kind; the server answers each."""
    code = (
        TRY
        + LATER.replace("other.example at", "200 OK")
        + """
LENGTH = b"POST /x HTTP/1.1\\r\\nHost: pypi.example\\r\\nContent-Length: 100000\\r\\n\\r\\n" + b"x" * 100000
print(re.findall(rb"[0-9]+ bytes|pypi.example at", later(GOOD, LENGTH, GOOD + GOOD, LENGTH, GOOD)))
"""
    )
    run = world.python(code, "pypi.example:80")
    assert run.out.count("pypi.example at") >= 3 and run.out.count("100000 bytes") == 2, (run.out, run.network)
    (connection,) = run.network["connections"]
    assert connection["bytes_sent"] > 200_000 and "not verified" not in connection["reason"]


def test_being_led_on_by_a_proxy_is_recorded(world: World) -> None:
    code = f"attempt(tcp, 'pypi.example', {OPEN_PORT}, b'CONNECT evil.example:443 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')"
    run = world.python(TRY + code, f"pypi.example:{OPEN_PORT}")
    (connection,) = run.network["connections"]
    assert (
        "asks to be led on to evil.example:443; host name not verified" in connection["reason"]
    )  # who ends first is a race
