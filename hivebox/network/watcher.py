"""Attempts that no listener takes, read from the sandbox's loopback: another port, an address without a rule.

The kernel has answered them already; this only says that they were made.
"""

from __future__ import annotations

import ipaddress
import socket

from hivebox.kernel import packet
from hivebox.loop import READ, Loop
from hivebox.network.addresses import Address
from hivebox.network.events import CONNECT, Attempt, Events
from hivebox.network.responder import Names

_TCP = 6
_PROTOCOLS = {_TCP: "tcp", 17: "udp"}
_MOST_AT_ONCE, _PAUSE_S = 100, 0.1  # a flood is counted by the kernel, and costs no more than this


def parse_packet(data: bytes) -> tuple[Address, int, str] | None:
    """(destination, port, protocol) of an IP packet's first bytes; None for what the filter should not have let by."""
    if len(data) >= 24 and data[0] >> 4 == 4:
        destination, protocol, start = data[16:20], data[9], 4 * (data[0] & 0xF)
    elif len(data) >= 44 and data[0] >> 4 == 6:
        destination, protocol, start = data[24:40], data[6], 40
    else:
        return None
    if protocol not in _PROTOCOLS or len(data) < start + 4:
        return None
    port = int.from_bytes(data[start + 2 : start + 4], "big")
    return ipaddress.ip_address(destination), port, _PROTOCOLS[protocol]


class Watcher:
    """One family. ``tcp_ports`` have a listener, which sees for itself."""

    def __init__(
        self, loop: Loop, source: socket.socket, tcp_ports: frozenset[int], names: Names, events: Events
    ) -> None:
        self._loop, self._source, self._tcp_ports = loop, source, tcp_ports
        self._names, self._events = names, events
        loop.watch(source.fileno(), READ, self._on_readable)

    def _on_readable(self, _events: int) -> None:
        for _ in range(_MOST_AT_ONCE):
            try:
                self._note(self._source.recv(packet.SNAP_SIZE))
            except BlockingIOError:
                return
        self._loop.change(self._source.fileno(), 0)
        self._loop.after(_PAUSE_S, lambda: self._loop.change(self._source.fileno(), READ))

    def _note(self, data: bytes) -> None:
        seen = parse_packet(data)
        if seen is None or (seen[2] == "tcp" and seen[1] in self._tcp_ports):
            return
        address, port, protocol = seen
        self._events.refuse(*refusal(self._names, address, port, protocol))

    def finish(self) -> None:
        """At the end of the run: what was not read yet, as far as that goes quickly, and what was lost."""
        self._on_readable(READ)
        self._events.unseen(packet.dropped(self._source))


def refusal(names: Names, address: Address, port: int, protocol: str, caller: int = 0) -> tuple[Attempt, str]:
    """The event of an attempt that no rule covers: by its name, where the address is one that stands for it."""
    name = names.name_of(address)
    attempt = Attempt(CONNECT, name, "" if name else str(address), port, protocol, caller=caller)
    return attempt, "no rule for this port" if name else "no rule for this address"
