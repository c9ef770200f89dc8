"""The name server of the sandbox: allowed names get an address that only means something there; others do not exist.

It asks nobody. What a name leads to is looked up when it is connected to, so a refused name, and a question that is
only meant to carry data out, cause no packet.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from hivebox.loop import READ, Loop, Timer
from hivebox.network import dns
from hivebox.network.addresses import Address
from hivebox.network.callers import Callers
from hivebox.network.events import DNS, Attempt, Events
from hivebox.network.rules import Rules

_IPV4, _IPV6 = ipaddress.ip_address("198.18.0.0"), ipaddress.ip_address("2001:2::")
_MOST_NAMES = 4096
_TTL_S = 60
_BATCH = 64
_MOST_STREAMS, _STREAM_IDLE_S = 32, 10.0

Ends = tuple[tuple[Any, ...], tuple[Any, ...]]


class Names:
    """Synthetic addresses, both ways. Each name keeps its own for the whole run."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names: dict[Address, str] = {}

    def give(self, name: str) -> tuple[Address, Address] | None:
        """(IPv4, IPv6), or None when there are too many names: a wildcard must not be a channel."""
        number = self._numbers.get(name)
        if number is None:
            if len(self._numbers) >= _MOST_NAMES:
                return None
            number = self._numbers[name] = len(self._numbers) + 1
            self._names[_IPV4 + number] = self._names[_IPV6 + number] = name
        return _IPV4 + number, _IPV6 + number

    def name_of(self, address: Address) -> str:
        """ "" for an address that was never given out."""
        return self._names.get(address, "")


class Responder:
    """Answers over UDP and TCP."""

    def __init__(self, loop: Loop, rules: Rules, events: Events, callers: Callers, *, ipv6: bool) -> None:
        self._loop, self._rules, self._events, self._ipv6 = loop, rules, events, ipv6
        self._callers = callers
        self._streams: dict[int, _Stream] = {}
        self.names = Names()

    def serve(self, listener: socket.socket, protocol: str) -> None:
        """Answer what comes to a socket that is bound, and listens if it is TCP."""
        act = self._on_datagrams if protocol == "udp" else self._on_accept
        self._loop.watch(listener.fileno(), READ, lambda _: act(listener))

    def respond(self, message: bytes, protocol: str, ends: Ends) -> bytes:
        """The answer, b"" for what deserves none. ``ends`` are the client's and ours."""
        try:
            question = dns.parse_question(message)
        except dns.DnsError as error:
            return b"" if error.rcode is None else dns.refuse(message, error.rcode)
        if not question.name or not self._rules.knows(question.name):
            self._refuse(question, protocol, ends, "no rule for this name" if question.name else "not a host name")
            return dns.answer(question, dns.NXDOMAIN)
        addresses = self.names.give(question.name)
        if addresses is None:
            self._refuse(question, protocol, ends, f"more than {_MOST_NAMES} names")
            return dns.answer(question, dns.REFUSED)
        ipv4, ipv6 = addresses
        if question.kind == dns.A:
            return dns.answer(question, dns.NOERROR, (ipv4,), _TTL_S)
        if question.kind == dns.AAAA and self._ipv6:
            return dns.answer(question, dns.NOERROR, (ipv6,), _TTL_S)
        return dns.answer(question, dns.NOERROR)  # the name exists, and has nothing of this kind

    def _refuse(self, question: dns.Question, protocol: str, ends: Ends, reason: str) -> None:
        caller = self._callers.find(protocol, *ends)
        self._events.refuse(Attempt(DNS, question.name or question.shown, "", 53, protocol, caller=caller), reason)

    def _on_datagrams(self, listener: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                message, client = listener.recvfrom(4096)
                answer = self.respond(message, "udp", (client, listener.getsockname()))
                if answer:
                    listener.sendto(answer, client)
            except BlockingIOError:
                return
            except OSError:
                continue  # the asker is gone

    def _on_accept(self, listener: socket.socket) -> None:
        try:
            client, peer = listener.accept()
        except OSError:
            return
        if len(self._streams) >= _MOST_STREAMS:
            client.close()
            return
        client.setblocking(False)
        handle = client.fileno()
        respond = partial(self.respond, protocol="tcp", ends=(peer, client.getsockname()))
        self._streams[handle] = _Stream(self._loop, client, respond, lambda: self._streams.pop(handle, None))


class _Stream:
    """Questions over TCP, each after its length (RFC 7766)."""

    def __init__(
        self, loop: Loop, client: socket.socket, respond: Callable[[bytes], bytes], on_close: Callable[[], object]
    ) -> None:
        self._loop, self._client, self._respond, self._on_close = loop, client, respond, on_close
        self._received = bytearray()
        self._timer: Timer = loop.after(_STREAM_IDLE_S, self._close)
        loop.watch(client.fileno(), READ, self._on_readable)

    def _on_readable(self, _events: int) -> None:
        try:
            data = self._client.recv(1 << 14)
            self._received += data
            self._answer_all()
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close()

    def _answer_all(self) -> None:
        """Raises OSError, too, when the client does not read its answers."""
        while len(self._received) >= 2:
            size = int.from_bytes(self._received[:2], "big")
            if len(self._received) < 2 + size:
                return
            answer = self._respond(bytes(self._received[2 : 2 + size]))
            del self._received[: 2 + size]
            if answer and self._client.send(len(answer).to_bytes(2, "big") + answer) < 2 + len(answer):
                raise ConnectionAbortedError
            self._timer.cancel()
            self._timer = self._loop.after(_STREAM_IDLE_S, self._close)

    def _close(self) -> None:
        self._timer.cancel()
        self._loop.forget(self._client.fileno())
        self._client.close()
        self._on_close()
