"""A connection between two sockets, and the inspector that stands between: nothing is looked at twice, or not at all."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from hivebox.loop import Loop
from hivebox.network.duplex import Duplex
from hivebox.network.inspect import Http, Inspector, Tls, Watched
from hivebox.network.relay import Budget, Pipes
from hivebox.policy.model import Allow
from tests.unit.test_network_relay import connected
from tests.unit.tls_hello import hello, retry

LATER = b"\x17\x03\x03\x40\x00" + bytes(1 << 14)
MUCH = 1 << 16  # what is read at once


class Between:
    """``client`` speaks to ``server`` through it."""

    def __init__(self) -> None:
        self.client, self._inner = connected()
        self._outer, self.server = connected()
        for end in (self._inner, self._outer, self.client, self.server):
            end.setblocking(False)
        self.loop = Loop()
        self.ends: list[str] = []
        self.duplex: Duplex | None = None

    def start(self, inspector: Inspector) -> None:
        budget = Budget(self.loop, Allow(host="a.example", ports=(80,)))
        made = self.duplex = Duplex(self.loop, Pipes(), budget, (self._inner, self._outer), inspector, self)
        self.loop.watch(self._inner.fileno(), 0, made.on_client)
        made.start(b"")

    def end(self, reason: str) -> None:
        self.ends.append(reason)

    def refuse(self, layer: str, reason: str) -> None:
        self.ends.append(f"{layer}: {reason}")

    def client_left(self) -> None:
        pass

    def arrives(self, at: socket.socket, size: int) -> bytes:
        """So many bytes, or what there is when nothing more comes."""
        got = b""
        self.loop.after(2.0, lambda: None)
        for _ in range(1000):
            try:
                got += at.recv(1 << 20)
            except BlockingIOError:
                if len(got) >= size or self.ends:
                    break
                self.loop.after(0.01, lambda: None)
                self.loop.turn()
        return got

    def close(self) -> None:
        if self.duplex:
            self.duplex.close()
        for end in (self.client, self.server, self._inner, self._outer):
            end.close()


@pytest.fixture
def between() -> Iterator[Between]:
    made = Between()
    yield made
    made.close()


def test_what_is_not_tls_is_asked_once(between: Between) -> None:
    """Later bytes may look like anything."""
    said = b"x" * MUCH + b"\x16\x03\x01 no hello"
    between.client.setblocking(True)
    between.client.sendall(said)
    between.start(Watched("a.example"))
    assert between.arrives(between.server, len(said)) == said and not between.ends


@pytest.mark.parametrize("kind", [Tls, Watched])
def test_what_follows_a_hello_waits_for_the_server(between: Between, kind: type[Inspector]) -> None:
    first, rest = hello("a.example"), LATER * 5
    between.client.setblocking(True)
    between.client.sendall(first + rest)
    between.start(kind("a.example"))
    assert between.arrives(between.server, len(first)) == first
    between.server.sendall(b"\x15\x03\x03\x00\x02\x01\x00")
    assert between.arrives(between.server, len(rest)) == rest and not between.ends


def test_a_second_hello_is_looked_at_and_nothing_after_it(between: Between) -> None:
    first, second = hello("a.example"), hello("a.example") + LATER
    between.start(Watched("a.example"))
    between.client.sendall(first)
    assert between.arrives(between.server, len(first)) == first
    between.server.sendall(retry())
    assert between.arrives(between.client, len(retry())) == retry()
    between.client.sendall(second)
    assert between.arrives(between.server, len(second)) == second and not between.ends
    between.client.sendall(hello("b.example"))
    assert between.arrives(between.server, 10) == hello("b.example")  # as content, which is not looked into


def test_a_second_hello_for_another_is_refused(between: Between) -> None:
    between.start(Watched("a.example"))
    between.client.sendall(hello("a.example"))
    assert between.arrives(between.server, 1)
    between.server.sendall(retry())
    assert between.arrives(between.client, 1)
    between.client.sendall(hello("b.example"))
    assert between.arrives(between.server, 1) == b"" and between.ends == ["sni: the ClientHello names b.example"]


def test_after_an_upgrade_nothing_is_looked_at(between: Between) -> None:
    asked = b"GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\n\r\n"
    frames = b"\x81" * (3 * MUCH)
    between.client.setblocking(True)
    between.client.sendall(asked + frames)
    between.start(Http("a.example"))
    assert between.arrives(between.server, len(asked)) == asked
    between.server.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    assert between.arrives(between.server, len(frames)) == frames and not between.ends
