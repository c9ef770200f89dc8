"""The network namespace is the script's own, but nothing in it is: not its routes, not the relay's places, and no other way
to the kernel's network."""

from __future__ import annotations

import subprocess

import pytest

from tests.network.attempts import ALLOWED, TRY, breached
from tests.network.world import DNS, ECHO_PORT, OTHER, UDP_PORT, WEB, World

TAKE = f"""
import itertools
REUSES = [(), (socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT)]
def take(kind, address, port, reuse):
    taken = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    for option in reuse:
        taken.setsockopt(socket.SOL_SOCKET, option, 1)
    taken.bind((address, port))
    if kind == socket.SOCK_STREAM:
        taken.listen()
    return (kind, address, port, reuse)
NAMED = [found[4][0] for found in socket.getaddrinfo("pypi.example", 1, type=socket.SOCK_STREAM)]
PLACES = [*NAMED, "0.0.0.0", "::", "::ffff:0.0.0.0", "127.0.0.1", "::1", "{WEB}"]
PORTS = [(socket.SOCK_STREAM, {ECHO_PORT}), (socket.SOCK_DGRAM, {UDP_PORT}), (socket.SOCK_STREAM, 53), (socket.SOCK_DGRAM, 53)]
for (kind, port), place, reuse in itertools.product(PORTS, PLACES, REUSES):
    attempt(take, kind, place, port, reuse)
"""


def test_taking_the_relays_places(world: World) -> None:
    """The listeners and the name server: beside them, on one of their addresses, and with every kind of sharing. With a
    rule for port 53 two sockets of the relay share it; below 1024 nobody else can."""
    run = world.python(TRY + TAKE, ALLOWED, f"udp://{WEB}:{UDP_PORT}", f"udp://{DNS}:53", f"{DNS}:53")
    assert len(run.out.splitlines()) == 4 * 4 * 8 and not breached(run), run.out
    after = f"\nprint(tcp('pypi.example', {ECHO_PORT}, b'hello'))"
    run = world.python(TRY + TAKE + after, ALLOWED, f"udp://{WEB}:{UDP_PORT}")
    assert run.out.endswith("b'hello'\n") and not breached(run), run.out


def test_what_listens_on_another_port_is_only_there(world: World) -> None:
    """Also under an address of a name: what a script says to itself leaves nothing, and reaches nobody."""
    code = f"""
own = socket.create_server((socket.gethostbyname("pypi.example"), 7999))
client = socket.create_connection(("pypi.example", 7999), 5)
print(own.accept()[0].getpeername()[0] == client.getsockname()[0])
print(tcp("pypi.example", {ECHO_PORT}, b"hello"))
"""
    run = world.python(TRY + code, ALLOWED)
    assert run.out == "True\nb'hello'\n", (run.out, run.err)
    assert run.network["totals"]["connections"] == 1


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("SIOCADDRT", f"0x890B, struct.pack('=Q16s16s16sHhQQ', 0, sockaddr('{OTHER}'), sockaddr('0.0.0.0'), "
                      "sockaddr('255.255.255.255'), 1, 0, 0, 0).ljust(128, b'\\0')"),
        ("SIOCDELRT", "0x890C, struct.pack('=Q16s16s16sHhQQ', 0, sockaddr('0.0.0.0'), sockaddr('0.0.0.0'), "
                      "sockaddr('0.0.0.0'), 1, 0, 0, 0).ljust(128, b'\\0')"),
        ("SIOCSIFADDR", "0x8916, b'lo'.ljust(16, b'\\0') + sockaddr('192.0.2.7') + bytes(32)"),
        ("SIOCSIFFLAGS", "0x8914, b'lo'.ljust(16, b'\\0') + bytes(48)"),
        ("SIOCSIFNAME", "0x8923, b'lo'.ljust(16, b'\\0') + b'up'.ljust(48, b'\\0')"),
        ("SIOCSARP", "0x8955, bytes(128)"),
        ("SIOCBRADDBR", "0x89a0, b'br0'.ljust(64, b'\\0')"),
    ],
)  # fmt: skip
def test_routes_and_addresses_stay_as_they_are(world: World, name: str, code: str) -> None:
    prelude = """
import fcntl
def sockaddr(address):
    return struct.pack("=HH4s8x", 2, 0, socket.inet_aton(address))
def change(request, argument):
    fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), request, argument)
    return "changed"
"""
    run = world.python(
        TRY + prelude + f"attempt(change, {code})\nprint(tcp('pypi.example', {ECHO_PORT}, b'x'))", ALLOWED
    )
    assert not breached(run) and run.out.startswith("PermissionError") and run.out.endswith("b'x'\n"), (
        run.out,
        run.err,
    )


@pytest.mark.parametrize(
    "code",
    [
        "client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'lo')",
        "client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'out')",
        "client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 1)",
        "client.setsockopt(socket.IPPROTO_IP, 19, 1)",  # IP_TRANSPARENT
        f"client.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes((131, 7, 4)) + socket.inet_aton('{WEB}') + b'\\0')",
        "client.setsockopt(socket.SOL_SOCKET, 5, 1)",  # SO_DONTROUTE
        f"client.bind(('{WEB}', 0))",
        "client.bind((socket.gethostbyname('pypi.example'), 0))",
        "client.setsockopt(socket.SOL_SOCKET, 60, b'x')",  # SO_ZEROCOPY, of nonsense
    ],
)
def test_options_of_a_socket_lead_nowhere_else(world: World, code: str) -> None:
    code = f"""
def elsewhere():
    client = socket.socket()
    try:
        {code}
    except OSError:
        pass
    client.settimeout(5)
    client.connect(("{OTHER}", {ECHO_PORT}))
    client.sendall(b"x")
    return client.recv(10)
attempt(elsewhere)
"""
    run = world.python(TRY + code, ALLOWED)
    assert run.out and not breached(run), run.out
    assert run.network["totals"]["connections"] == 0


def test_sockets_with_abstract_names_are_of_one_namespace(world: World) -> None:
    serve = "import socket\ns = socket.socket(socket.AF_UNIX)\ns.bind('\\0hivebox-test')\ns.listen()\nprint('up', flush=True)\ns.accept()"
    server = world.serve("python3", "-c", serve, outside=True, stdout=subprocess.PIPE)
    assert server.stdout and server.stdout.readline() == b"up\n"
    code = "client = socket.socket(socket.AF_UNIX)\nattempt(lambda: client.connect('\\0hivebox-test') or 'connected')"
    assert not breached(world.python(TRY + code, ALLOWED))
    reached = world.call("python3", "-c", "import socket\nsocket.socket(socket.AF_UNIX).connect('\\0hivebox-test')")
    assert reached.returncode == 0  # from the host it is
    server.kill()


def test_a_ring_that_makes_calls_unseen(world: World) -> None:
    """io_uring connects and sends without connect(2) and sendto(2); here it would be in the same namespace, but there is
    none."""
    code = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
ring = libc.syscall(425, 4, ctypes.create_string_buffer(120))
print("BREACH" if ring >= 0 else ctypes.get_errno())
"""
    run = world.python(code, ALLOWED)
    assert run.out == "1\n", (run.out, run.err)
    assert {each["name"] for each in run.report["violations"]} == {"io_uring_setup"}


def test_another_namespace_of_its_own(world: World) -> None:
    """With a user namespace it would have the rights that changing the network takes; in the namespace that the world
    gave it, they would reach no further than its own loopback anyway."""
    code = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for flags in (0x10000000, 0x40000000, 0x50000000):
    print("BREACH" if libc.unshare(flags) == 0 else ctypes.get_errno())
"""
    run = world.python(code, ALLOWED)
    assert run.out == "1\n" * 3, (run.out, run.err)
