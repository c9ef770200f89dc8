"""What lies in sockets is memory too, and in no process's address space: queues of datagrams on the sandbox's loopback.
Where there is no control group it is not counted (SECURITY.md)."""

from __future__ import annotations

import pytest

from tests.harness import LIMITS, Runner, cgroup_available, policy

MIB = 1 << 20
SOCKETS = 240
# Each holds 200 KiB or more, whatever the host allows a receive buffer to be.
FILL_AND_READ = f"""
import socket
held = []
for _ in range({SOCKETS}):
    reader = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    reader.bind(("127.0.0.1", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as writer:
        writer.setblocking(False)
        for _ in range(40):
            try:
                writer.sendto(b"x" * 32000, reader.getsockname())
            except OSError:
                break
    reader.setblocking(False)
    held.append(reader)
total = 0
for reader in held:
    try:
        while True:
            total += len(reader.recv(65536))
    except OSError:
        pass
print(total)
"""


def kept_bytes(memory_bytes: int) -> int:
    limits = LIMITS._replace(memory_bytes=memory_bytes, open_files=SOCKETS + 50)
    report = Runner().command("/usr/bin/python3", "-c", FILL_AND_READ, policy=policy(limits=limits))
    if report.outcome == "memory":
        return 0
    assert report.outcome == "ok", report.stderr
    return int(report.stdout or b"0")


def test_datagrams_in_queues_count_as_memory() -> None:
    if not cgroup_available():
        pytest.skip("no control group can be made")
    assert kept_bytes(1 << 30) > 40 * MIB  # so much fits where the limit is no hindrance
    assert kept_bytes(32 * MIB) < 32 * MIB
