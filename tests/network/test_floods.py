"""Much of everything, and clients that do not do their part."""

from __future__ import annotations

from tests.network.attempts import ALLOWED, TRY
from tests.network.world import (
    ECHO_PORT,
    SILENT_PORT,
    World,
)


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
