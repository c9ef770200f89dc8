"""Connections that nobody has accepted: memory that no control group counts.

The kernel charges a socket to the group of whoever made it. One that waits in a listener's queue was made by the
network itself, and is charged when accept(2) takes it out: until then what was sent to it is nobody's. How much one of
them can hold is bounded (steps/network.py); how many there are is looked at here.
"""

from __future__ import annotations

import time

from hivebox.policy.model import Limits
from hivebox.steps.network import RECEIVE_BUFFER_BYTES

_SOCKET_BYTES = 4096
_LARGEST_BYTES = _SOCKET_BYTES + 2 * RECEIVE_BUFFER_BYTES
_SHARE = 8  # of the memory limit, beside it: as kernel/cgroup/v1.py leaves to the buffers of all other sockets
_REST = 10  # times as long as the last listing took: one walks through the whole host's table
_HELD_STATES = {b"01", b"08"}  # ESTABLISHED, CLOSE_WAIT
_ENDED = (FileNotFoundError, ProcessLookupError)


class Unaccepted:
    """Of the network namespace of ``init_pid``. ``peak_bytes``: the most that was seen; ``any_socket``: whether there
    was any TCP socket at the last look."""

    def __init__(self, init_pid: int) -> None:
        self._net = f"/proc/{init_pid}/net"
        self._not_before = 0.0
        self.peak_bytes = 0
        self.any_socket = False

    def over(self, limits: Limits) -> bool:
        """Whether more waits than is left to it. Lists the connections only when there are enough of them."""
        enough = limits.memory_bytes // _SHARE
        tables = [(table, count) for table, count in (("tcp", self._count("")), ("tcp6", self._count("6"))) if count]
        self.any_socket = bool(tables)
        began = time.monotonic()
        if sum(count for _, count in tables) * _LARGEST_BYTES <= enough or began < self._not_before:
            return False
        waiting = sum(self._waiting(table) for table, _ in tables)
        ended = time.monotonic()
        self._not_before = ended + _REST * (ended - began)
        self.peak_bytes = max(self.peak_bytes, waiting)
        return waiting > enough

    def _count(self, family: str) -> int:
        """``TCP: inuse 5 ...``: all that are bound or connected, accepted or not."""
        try:
            with open(f"{self._net}/sockstat{family}", "rb") as file:
                return next((int(line.split()[2]) for line in file if line.startswith(b"TCP")), 0)
        except _ENDED:
            return 0

    def _waiting(self, table: str) -> int:
        """Connected, and in no process's hands: inode 0."""
        total = 0
        try:
            with open(f"{self._net}/{table}", "rb") as file:
                for line in file:
                    fields = line.split()
                    if fields[3] in _HELD_STATES and fields[9] == b"0":
                        total += _SOCKET_BYTES + 2 * int(fields[4].partition(b":")[2], 16)
        except _ENDED:
            return total
        return total
