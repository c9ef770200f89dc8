"""Much of everything, and clients that do not do their part."""

from __future__ import annotations

import os
import time

from tests.network.attempts import ALLOWED, TRY, attended, resident_kib
from tests.network.world import (
    ECHO_PORT,
    SILENT_PORT,
    World,
)


def test_a_flood_of_connections_starves_nobody(world: World) -> None:
    """Ten thousand, of which no more than 1024 are held; the clock and an honest connection go on."""
    code = f"""
address = socket.gethostbyname("six.example")
start = time.monotonic()
held = []
for _ in range(10_000):
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex((address, {SILENT_PORT}))
    held.append(client)
    if len(held) > 900:
        held.pop(0).close()
print("done", time.monotonic() - start < 80)
held.clear()
time.sleep(0.5)
print(tcp("pypi.example", {ECHO_PORT}, b"x"))
"""
    run = world.python(TRY + code, ALLOWED, f"six.example:{SILENT_PORT}", options=("--timeout", "100s"))
    assert run.out == "done True\nb'x'\n", (run.out, run.err)


def test_a_thousand_connections_are_held(world: World) -> None:
    """By two processes: one may have fewer descriptors."""
    code = f"""
import os
address = socket.gethostbyname("pypi.example")
down, up = os.pipe()
child = os.fork()
held = [socket.create_connection((address, {ECHO_PORT})) for _ in range(500)]
os.write(up, b"x") if child == 0 else os.read(down, 1)
for number, client in enumerate(held):
    client.sendall(b"%04d" % number)
print(sum(client.recv(4) == b"%04d" % number for number, client in enumerate(held)), flush=True)
os._exit(0) if child == 0 else os.waitpid(child, 0)
"""
    run = world.python(code, ALLOWED)
    assert run.out == "500\n500\n", (run.out, run.err, run.network["totals"])
    assert run.network["totals"]["connections"] == 1000


def test_a_flood_of_resets_leaves_nothing(world: World) -> None:
    """Connections that are reset at once, before and after they said something: no descriptor and no memory stays."""
    code = f"""
address = socket.gethostbyname("pypi.example")
def reset(port, data):
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
        client.connect((address, port))
        client.send(data)
for number in range(1000):
    reset({ECHO_PORT}, b"x" * (number % 3))
    reset(443, b"\\x16\\x03" [:number % 3])
    reset(80, b"GET / HTTP/1.1\\r\\n" [:number % 9])
print(tcp("pypi.example", {ECHO_PORT}, b"x"), flush=True)
sys.stdin.read(1)
"""
    with attended(world, TRY + code, f"pypi.example:{ECHO_PORT},443,80") as (process, relay):
        assert process.stdout and process.stdout.readline() == b"b'x'\n"
        time.sleep(0.5)
        if world.is_root:  # others may not look into it
            assert len(os.listdir(f"/proc/{relay}/fd")) < 180  # listeners, and at most 64 pooled pipes
        assert resident_kib(relay) < 64 << 10


def test_lengths_that_never_come(world: World) -> None:
    """Fields that announce four gigabytes, or all that fits: nothing is kept for them, and others are served."""
    code = f"""
def say(port, data, host="pypi.example"):
    client = socket.create_connection((host, port), 5)
    client.sendall(data)
    return client
POST = b"POST / HTTP/1.1\\r\\nHost: pypi.example\\r\\n"
held = []
for _ in range(5):
    held += [
        say(443, b"\\x16\\x03\\x01\\xff\\xff" + bytes(1000)),
        say(443, b"\\x16\\x03\\x01\\x40\\x00\\x01\\xff\\xff\\xff" + bytes(1000)),
        say(443, b"\\x16\\x03\\x01\\x40\\x00\\x01\\x00\\x7f\\xff" + bytes(1000)),
        say(80, POST + b"Content-Length: 4294967295\\r\\n\\r\\n" + bytes(1000)),
        say(80, POST + b"Content-Length: 18446744073709551616\\r\\n\\r\\n"),
        say(80, POST + b"Transfer-Encoding: chunked\\r\\n\\r\\nffffffff\\r\\n" + bytes(1000)),
        say(80, POST + b"Transfer-Encoding: chunked\\r\\n\\r\\n" + b"f" * 64),
        say(53, b"\\xff\\xff" + bytes(1000), "127.0.0.1"),
    ]
print(tcp("pypi.example", {ECHO_PORT}, b"x"), flush=True)
sys.stdin.read(1)
"""
    with attended(world, TRY + code, f"pypi.example:{ECHO_PORT},443,80") as (process, relay):
        assert process.stdout and process.stdout.readline() == b"b'x'\n"
        assert resident_kib(relay) < 64 << 10


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
