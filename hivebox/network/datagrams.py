"""UDP, for rules that say so: each of the payload's sockets has one outside for each place it speaks to."""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import TYPE_CHECKING

from hivebox.loop import READ, Timer
from hivebox.network.addresses import Address
from hivebox.network.events import CONNECT, reason_of
from hivebox.network.target import Target

if TYPE_CHECKING:
    from hivebox.network.broker import Broker

_MOST_FLOWS, _MOST_WAITING = 256, 16
_IDLE_S = 60.0
_BATCH = 64
_LARGEST = 1 << 16
_IP_PKTINFO, _IPV6_PKTINFO = 8, 50

Key = tuple[str, int, bytes]


class Listener:
    """One port, one family: any address of it."""

    def __init__(self, broker: Broker, bound: socket.socket, port: int) -> None:
        self._broker, self._bound, self._port = broker, bound, port
        self.is_ipv6 = bound.family == socket.AF_INET6
        self._flows: dict[Key, _Exchange] = {}
        broker.loop.watch(bound.fileno(), READ, self._on_readable)

    def _on_readable(self, _events: int) -> None:
        for _ in range(_BATCH):
            try:
                data, ancillary, _, client = self._bound.recvmsg(_LARGEST, 64)
            except BlockingIOError:
                return
            except OSError:
                continue  # an earlier answer found nobody
            destination = next((content for *_, content in ancillary), b"")
            self._take(data, client, destination[:16] if self.is_ipv6 else destination[8:12])

    def _take(self, data: bytes, client: tuple[str, int], destination: bytes) -> None:
        key = (client[0], client[1], destination)
        flow = self._flows.get(key)
        if flow is None:
            place = ipaddress.ip_address(destination)
            caller = self._broker.callers.find("udp", client, (str(place), self._port))
            target = self._broker.target(destination, self._port, "udp", caller)
            if target is None:
                return
            if self._broker.datagram_flows >= _MOST_FLOWS:
                why = f"more than {_MOST_FLOWS} exchanges of datagrams at once"
                self._broker.events.refuse(target.attempt(CONNECT), why)
                return
            flow = _Exchange(self._broker, self, target, key)
            if flow.is_over:  # there is no way to that address, which is known at once
                return
            self._flows[key] = flow
        flow.send(data)

    def answer(self, data: bytes, key: Key) -> None:
        """To the payload, from the address it had sent to. Raises OSError."""
        host, port, destination = key
        if self.is_ipv6:
            level, kind, source = socket.IPPROTO_IPV6, _IPV6_PKTINFO, destination + bytes(4)
        else:
            level, kind, source = socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4s", 0, destination, bytes(4))
        self._bound.sendmsg([data], [(level, kind, source)], 0, (host, port))

    def close(self) -> None:
        """At the end of the run."""
        for flow in list(self._flows.values()):
            flow.close("")

    def closed(self, key: Key) -> None:
        self._flows.pop(key, None)


class _Exchange:
    """Datagrams of one socket of the payload to one place, and back."""

    def __init__(self, broker: Broker, listener: Listener, target: Target, key: Key) -> None:
        self._broker, self._listener, self._target, self._key = broker, listener, target, key
        self._budget = broker.budget(target.rule)
        self._outside: socket.socket | None = None
        self._waiting: list[bytes] = []
        self._address = ""
        self._sent = self._received = 0
        self._closed = False
        self._timer: Timer = broker.loop.after(_IDLE_S, lambda: self.close(""))
        broker.datagram_flows += 1
        broker.destinations(target, "udp", self._on_destinations)

    @property
    def is_over(self) -> bool:
        """Nothing more can be sent by it."""
        return self._closed

    def send(self, data: bytes) -> None:
        """Now, or when it is known where to; what is too much is lost, as datagrams are."""
        if self._outside is None:
            self._waiting += [data] if len(self._waiting) < _MOST_WAITING else []
            return
        if not self._may(len(data)):
            return
        try:
            self._outside.send(data)
        except OSError:
            return  # full, or an earlier one was refused
        self._sent += len(data)

    def _may(self, size: int) -> bool:
        if self._budget.allowance() < size:
            return False
        self._budget.spend(size)
        self._timer.cancel()
        self._timer = self._broker.loop.after(_IDLE_S, lambda: self.close(""))
        return True

    def _on_destinations(self, addresses: tuple[Address, ...], refused: str, why: str) -> None:
        if self._closed:
            return
        if not addresses:
            if refused:
                self._broker.events.refuse(self._target.attempt(CONNECT), refused)
            self.close(why)
            return
        why = ""
        for address in addresses:  # the first to which this host has a way
            try:
                self._outside = _connected(address, self._target.port)
            except OSError as error:
                why = reason_of(error)
                continue
            self._address = str(address)
            self._broker.loop.watch(self._outside.fileno(), READ, self._on_answer)
            waiting, self._waiting = self._waiting, []
            for data in waiting:
                self.send(data)
            return
        self.close(why)

    def _on_answer(self, _events: int) -> None:
        for _ in range(_BATCH):
            if self._outside is None:
                return
            try:
                data = self._outside.recv(_LARGEST)
                if self._may(len(data)):
                    self._listener.answer(data, self._key)
                    self._received += len(data)
            except BlockingIOError:
                return
            except OSError:
                continue  # nobody listens there, or nobody here any more

    def close(self, why: str) -> None:
        """Account for it; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._timer.cancel()
        if self._outside:
            self._broker.loop.forget(self._outside.fileno())
            self._outside.close()
            note = "" if self._target.rule.cidr else "host name not verified"
            self._broker.events.connected(
                self._target.attempt(CONNECT, self._address), self._sent, self._received, note
            )
            self._outside = None
        elif why:
            self._broker.events.failed(self._target.attempt(CONNECT), why)
        self._broker.datagram_flows -= 1
        self._listener.closed(self._key)


def _connected(address: Address, port: int) -> socket.socket:
    """What others send is not for it. Raises OSError."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    outside = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        outside.connect((str(address), port))
    except OSError:
        outside.close()
        raise
    return outside
