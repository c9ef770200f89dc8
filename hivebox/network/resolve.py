"""Looking up a name, without waiting for it: A and AAAA together, over UDP, over TCP where an answer is truncated, from
one server after the other, and never longer than a payload would wait."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from hivebox.loop import READ, WRITE, Loop, Timer
from hivebox.network import dns
from hivebox.network.addresses import Address
from hivebox.network.configuration import Configuration

_LONGEST_S = 6.0
_OTHER_FAMILY_S = 0.05  # RFC 8305 section 3
_MOST_TTL_S, _MOST_CACHED = 300, 4096

Done = Callable[[tuple[Address, ...], str], None]


class Resolver:
    """One answer for all who ask for a name at the same time, kept for its time to live (at most five minutes)."""

    def __init__(self, loop: Loop, configuration: Configuration) -> None:
        self._loop = loop
        self._configuration = configuration
        self._known: dict[str, tuple[float, tuple[Address, ...]]] = {}
        self._waiting: dict[str, list[Done]] = {}

    def resolve(self, name: str, done: Done) -> None:
        """Calls ``done`` with the addresses, or none and why; at once when they are known."""
        listed = self._configuration.hosts.get(name)
        if listed:
            done(listed, "")
            return
        expires, addresses = self._known.get(name, (0.0, ()))
        if expires > self._loop.now:
            done(addresses, "")
        elif name in self._waiting:
            self._waiting[name].append(done)
        else:
            self._waiting[name] = [done]
            _Lookup(self._loop, self._configuration, name, lambda *result: self._on_result(name, *result))

    def _on_result(self, name: str, addresses: tuple[Address, ...], ttl_s: int, why: str) -> None:
        if addresses and len(self._known) < _MOST_CACHED:
            self._known[name] = self._loop.now + min(ttl_s, _MOST_TTL_S), addresses
        for done in self._waiting.pop(name, ()):
            done(addresses, why)


class _Lookup:
    """A and AAAA of one name."""

    def __init__(
        self, loop: Loop, configuration: Configuration, name: str, done: Callable[[tuple[Address, ...], int, str], None]
    ) -> None:
        self._loop, self._done, self._why = loop, done, ""
        self._found: dict[int, tuple[tuple[Address, ...], int]] = {}
        self._open = {dns.A, dns.AAAA}
        self._timer = loop.after(_LONGEST_S, self._finish)
        self._exchanges = [
            _Exchange(loop, configuration, name, kind, partial(self._on_answer, kind)) for kind in (dns.AAAA, dns.A)
        ]
        for exchange in self._exchanges:
            exchange.start()

    def _on_answer(self, kind: int, answer: dns.Answer | None, why: str) -> None:
        self._open.discard(kind)
        self._why = why or self._why
        if answer and answer.addresses:
            self._found[kind] = answer.addresses, answer.ttl_s
            if self._open:
                self._timer.cancel()
                self._timer = self._loop.after(_OTHER_FAMILY_S, self._finish)
        if not self._open:
            self._finish()

    def _finish(self) -> None:
        self._timer.cancel()
        for exchange in self._exchanges:
            exchange.close()
        addresses = tuple(each for kind in (dns.AAAA, dns.A) for each in self._found.get(kind, ((), 0))[0])
        ttl_s = min((ttl for _, ttl in self._found.values()), default=0)
        done, self._done = self._done, lambda *_: None
        done(addresses, ttl_s, "" if addresses else self._why or "the name servers do not answer")


class _Exchange:
    """One question: over UDP to one server after the other, over TCP where the answer is truncated. Each try has a
    socket, a port and a number of its own."""

    def __init__(
        self,
        loop: Loop,
        configuration: Configuration,
        name: str,
        kind: int,
        done: Callable[[dns.Answer | None, str], None],
    ) -> None:
        self._loop, self._name, self._kind, self._done = loop, name, kind, done
        self._tries = [server for _ in range(configuration.attempts) for server in configuration.servers]
        self._timeout_s = configuration.timeout_s
        self._socket: socket.socket | None = None
        self._timer: Timer | None = None
        self._why = "the name servers do not answer"
        self._number = 0
        self._stream = bytearray()
        self._server: tuple[Any, ...] = ()

    def start(self) -> None:
        """The next try, or the end of them."""
        self.close()
        if not self._tries:
            done, self._done = self._done, lambda *_: None
            done(None, self._why)
            return
        self._server = self._tries.pop(0)
        self._open(socket.SOCK_DGRAM)

    def close(self) -> None:
        """Stop waiting. Safe to call twice."""
        if self._timer:
            self._timer.cancel()
        if self._socket:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _open(self, kind: int) -> None:
        self.close()
        family = socket.AF_INET6 if len(self._server) == 4 else socket.AF_INET
        self._number = int.from_bytes(os.urandom(2), "big")
        message = dns.question(self._number, self._name, self._kind)
        try:
            self._socket = connection = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            self._timer = self._loop.after(self._timeout_s, self.start)
            if kind == socket.SOCK_DGRAM:
                connection.connect(self._server)
                connection.send(message)
                self._watch(connection, READ, self._on_datagram)
            else:
                self._stream.clear()
                connection.connect_ex(self._server)
                self._watch(connection, WRITE, partial(self._on_connected, message=message))
        except OSError as error:
            self._fail(error)

    def _watch(self, connection: socket.socket, events: int, act: Callable[[socket.socket], None]) -> None:
        def on_ready(_events: int) -> None:
            try:
                act(connection)
            except BlockingIOError:
                return
            except OSError as error:
                self._fail(error)

        self._loop.forget(connection.fileno())
        self._loop.watch(connection.fileno(), events, on_ready)

    def _fail(self, error: OSError) -> None:
        self._why = f"the name server {self._server[0]}: {os.strerror(error.errno or 0)}"
        self.close()
        self._timer = self._loop.after(0.0, self.start)

    def _on_datagram(self, connection: socket.socket) -> None:
        self._take(connection.recv(4096))

    def _on_connected(self, connection: socket.socket, message: bytes) -> None:
        connection.send(len(message).to_bytes(2, "big") + message)  # into an empty buffer: whole or not at all
        self._watch(connection, READ, self._on_stream)

    def _on_stream(self, connection: socket.socket) -> None:
        data = connection.recv(1 << 16)
        self._stream += data
        size = int.from_bytes(self._stream[:2], "big")
        if len(self._stream) >= 2 + size > 2:
            self._take(bytes(self._stream[2 : 2 + size]), final=True)
        elif not data:
            raise OSError(errno.ECONNRESET, "")

    def _take(self, message: bytes, *, final: bool = False) -> None:
        try:
            answer = dns.parse_answer(message, self._number, self._name, self._kind)
        except dns.DnsError:
            if final:
                self.start()
            return  # of a datagram nobody knows who sent it: wait on
        if answer.truncated and not final:
            self._open(socket.SOCK_STREAM)
        elif answer.rcode in {dns.NOERROR, dns.NXDOMAIN}:
            self.close()
            done, self._done = self._done, lambda *_: None
            done(answer, "" if answer.addresses else "the name does not exist, or has no address")
        else:
            self._why = f"the name server {self._server[0]} answers {answer.rcode}"
            self.start()
