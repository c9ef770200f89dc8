"""What the network allowlist costs, beside bare loopback and beside slirp4netns and pasta where they are installed.

Everything happens in network namespaces of the benchmark's own (tests/network/world.py): a server on the far side of a
veth pair, or on a loopback. Each figure is a median of several turns, the contenders taking turns.

    throughput   one TCP connection, 256 MiB from the sandbox to the server: part of what the bare path does
    latency      connect and one echoed byte, over a connection each, beyond the bare path
    idle         processor time of the relay while 100 connections do nothing
    held         1,000 connections at once, each of which still answers
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.network.conftest import made_world  # noqa: E402
from tests.network.world import ECHO_PORT, PROFILE, WEB, World  # noqa: E402

TURNS = 5
SINK_PORT, MEBIBYTES, CONNECTIONS = 7100, 256, 200
SERVER = f"""
import socket, threading
def sink(c):
    view = bytearray(1 << 20)
    while c.recv_into(view): pass
    c.sendall(b"e"); c.close()
def echo(c):
    while d := c.recv(65536): c.sendall(d)
    c.close()
def serve(port, act):
    s = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=2048)
    while True:
        threading.Thread(target=act, args=(s.accept()[0],), daemon=True).start()
threading.Thread(target=serve, args=({SINK_PORT}, sink), daemon=True).start()
serve({ECHO_PORT}, echo)
"""
CLIENT = f"""
import json, socket, statistics, sys, time
host = sys.argv[1]
address = socket.getaddrinfo(host, 0, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]
def throughput():
    data = bytes(1 << 20)
    with socket.create_connection((address, {SINK_PORT})) as c:
        start = time.monotonic()
        for _ in range({MEBIBYTES}): c.sendall(data)
        c.shutdown(socket.SHUT_WR)
        c.recv(1)
        return {MEBIBYTES} / (time.monotonic() - start)
def first_byte():
    start = time.perf_counter()
    with socket.create_connection((address, {ECHO_PORT})) as c:
        c.sendall(b"x"); c.recv(1)
        return time.perf_counter() - start
first_byte()
print(json.dumps([throughput(), statistics.median(first_byte() for _ in range({CONNECTIONS})) * 1000]))
"""
HOLD = f"""
import os, socket, sys, time
address = socket.gethostbyname("pypi.example")
count, seconds = int(sys.argv[1]) // 2, float(sys.argv[2])
down, up = os.pipe()
child = os.fork()  # one process may have fewer than a thousand descriptors
held = [socket.create_connection((address, {ECHO_PORT})) for _ in range(count)]
if child == 0:
    os.write(up, b"x")
else:
    os.read(down, 1)
for c in held: c.sendall(b"x")
good = sum(c.recv(1) == b"x" for c in held)
if child == 0:
    os.write(up, b"%4d" % good)
else:
    print(good + int(os.read(down, 4)), flush=True)
time.sleep(seconds)
"""


def measure(name: str, command: list[str]) -> list[float] | None:
    """MiB/s and milliseconds of one client; None for a contender that does not work here."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=30)
    except subprocess.TimeoutExpired:
        print(f"{name}: no answer within 30 seconds", file=sys.stderr)
        return None
    if done.returncode:
        print(f"{name}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return list(json.loads(done.stdout))


def in_world(world: World, *command: str) -> list[str]:
    return [*world._enter(world._ours), *command]


def contenders(world: World) -> dict[str, list[str]]:
    """Each reaches the same server."""
    client = ["python3", "-c", CLIENT]
    rules = ["--allow-net", f"four.example:{SINK_PORT},{ECHO_PORT}"]
    found = {
        "bare": in_world(world, *client, WEB),
        "hivebox": world.command("run", "--quiet", "-p", PROFILE, *rules, "--", *client, "four.example"),
    }
    if shutil.which("pasta"):  # makes the namespace itself: one that is there already it may not enter without ptrace
        as_root = ["--runas", "0"] if world.is_root else []
        found["pasta"] = in_world(world, "pasta", "--config-net", *as_root, "--", "sh", "-c", SETTLED, *client, WEB)
    if shutil.which("slirp4netns"):
        found["slirp4netns"] = in_world(world, "sh", "-c", ATTACHED, *client, WEB)
    return found


SETTLED = 'sleep 0.3; exec "$0" "$@"'
# A namespace for the client, and beside it the program that connects it.
ATTACHED = """
unshare -n sh -c 'while ! ip link show tap0 >/dev/null 2>&1; do sleep 0.05; done; sleep 0.3; exec "$0" "$@"' "$0" "$@" &
pid=$!
sleep 0.3
slirp4netns --configure --mtu=65520 $pid tap0 >/dev/null 2>&1 &
helper=$!
wait $pid; code=$?
kill $helper 2>/dev/null
exit $code
"""


def relay_of(marker: str) -> int:
    """The relay whose supervisor has ``marker`` in its command line."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "comm").read_text() == "hivebox-net\n" and marker in (entry / "cmdline").read_text():
                return int(entry.name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    raise SystemExit("no relay")


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def hold(world: World, count: int, seconds: float) -> tuple[int, float]:
    """(connections that answered, processor share of the relay while they idled)."""
    marker = f"hold-{os.getpid()}-{count}"
    rules = ["--allow-net", f"pypi.example:{ECHO_PORT}", "--timeout", "2m", "--env", f"MARKER={marker}"]
    command = world.command(
        "run", "--quiet", "-p", PROFILE, *rules, "--", "python3", "-c", HOLD, str(count), str(seconds)
    )
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout
    good = int(process.stdout.readline())
    relay = relay_of(marker)
    before, start = cpu_s(relay), time.monotonic()
    time.sleep(seconds * 0.8)
    share = (cpu_s(relay) - before) / (time.monotonic() - start)
    process.wait()
    process.stdout.close()
    return good, share


def report(results: dict[str, list[list[float]]]) -> dict[str, Any]:
    bare = [statistics.median(column) for column in zip(*results["bare"], strict=True)]
    facts: dict[str, Any] = {}
    print(f"{'':<12} {'MiB/s':>8} {'of bare':>8} {'first byte':>11} {'added':>8}")
    for name, turns in results.items():
        speed, latency = (statistics.median(column) for column in zip(*turns, strict=True))
        facts[name] = {"mib_s": speed, "first_byte_ms": latency}
        print(f"{name:<12} {speed:8.0f} {speed / bare[0]:8.2f} {latency:8.3f} ms {latency - bare[1]:5.3f} ms")
    return facts


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="hivebox-bench-") as state, made_world(web=False) as world:
        os.environ["HIVEBOX_STATE"] = state
        Path(state).chmod(0o755)
        world.serve("python3", "-c", SERVER)
        world.wait_for(WEB, ECHO_PORT)
        commands = contenders(world)
        results: dict[str, list[list[float]]] = {name: [] for name in commands}
        for _ in range(TURNS):
            for name, command in commands.items():
                figures = measure(name, command)
                if figures:
                    results[name].append(figures)
        facts = report({name: turns for name, turns in results.items() if turns})
        _, share = hold(world, 100, 5.0)
        good, _ = hold(world, 1000, 1.0)
        print(f"idle 100 connections: {share * 100:.2f} % of a core; held at once: {good} of 1000")
    if "--json" in sys.argv:
        print(json.dumps({**facts, "idle_share": share, "held": good}))


if __name__ == "__main__":
    main()
