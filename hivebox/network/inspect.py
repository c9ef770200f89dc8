"""For whom a connection is, by its own words. Pure.

Tls       the ClientHello, and a second one where the server asks for it; then nothing is looked at any more
Http      the head of every request
Watched   a port whose protocol is not known: what begins as TLS is looked at as such
"""

from __future__ import annotations

from collections.abc import Callable

from hivebox.network import http, tls
from hivebox.network.events import HOST, SNI
from hivebox.network.http_stream import RequestReader
from hivebox.policy import hosts


class InspectionError(Exception):
    """The words name another host, or none; the text says which."""


class Inspector:
    """Stands between a client and the server. ``decided``: a server may be connected to. ``looks``: the client's bytes
    go through ``from_client``, and otherwise they pass. ``listens``: the server's go through ``from_server`` too, and
    pass whatever it says; with ``awaits`` the client must not be read before that. Both return what may pass to the
    server now, get b"" at an end, and raise InspectionError for what must not."""

    layer = SNI

    def __init__(self, name: str) -> None:
        self._name = name
        self.decided = self.listens = self.awaits = self.verified = False
        self.looks = True
        self.note = ""

    def from_client(self, data: bytes) -> bytes:
        raise NotImplementedError

    def from_server(self, data: bytes) -> bytes:
        raise NotImplementedError


class Tls(Inspector):
    """What comes after the ClientHello waits for the server's first words: a server may ask for another one
    (HelloRetryRequest), and that must name the same host."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._reader = tls.HelloReader()
        self._kept = self._answer = b""

    def from_client(self, data: bytes) -> bytes:
        if not data:
            raise InspectionError("the client ends before it says for whom it is")
        self._kept += data
        try:
            hello = self._reader.feed(data)
        except tls.TlsError as error:
            raise InspectionError(str(error)) from error
        if hello is None:
            return b""
        self._check(hello)
        rest = self._reader.rest()
        passed, self._kept = self._kept[: len(self._kept) - len(rest)], rest
        self.listens = self.awaits = not self._answer
        return passed if self.awaits else passed + self._release()

    def _check(self, hello: tls.Hello) -> None:
        if not hello.name:
            raise InspectionError("the ClientHello names no server")
        if hello.ech:
            raise InspectionError("the ClientHello may name another server, encrypted (ECH)")
        if hello.name != self._name:
            raise InspectionError(f"the ClientHello names {hello.name}")
        self.verified = self.decided = True

    def from_server(self, data: bytes) -> bytes:
        self._answer += data
        head = self._answer[: tls.RETRY_SIZE]
        if data and len(head) < tls.RETRY_SIZE and head[:1] == b"\x16":
            return b""
        self.listens = self.awaits = False
        if not tls.asks_for_retry(head):
            return self._release()
        self._reader = tls.HelloReader(second=True)
        rest, self._kept = self._kept, b""
        return self.from_client(rest) if rest else b""

    def _release(self) -> bytes:
        self.looks = False
        rest, self._kept = self._kept, b""
        return rest


class Http(Inspector):
    """A connection that is upgraded to WebSocket belongs to the request that asked for it. One that goes on in HTTP/2
    could name another host in each request, and is refused."""

    layer = HOST

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._requests = RequestReader(self._approve)
        self._answer = b""

    def _approve(self, request: http.Request) -> None:
        others = sorted(request.names - {self._name})
        if others:
            raise http.HttpError(f"the request is for {request.target or ', '.join(others)}")
        self.verified = self.decided = True

    def from_client(self, data: bytes) -> bytes:
        if not data and not self.decided:
            raise InspectionError("the client ends before it says for whom it is")
        passed = self._read(lambda: self._requests.feed(data))
        self.listens, self.awaits = bool(self._requests.upgrade), self._requests.waits
        return passed

    def _read(self, act: Callable[[], bytes]) -> bytes:
        try:
            return act()
        except http.HttpError as error:
            raise InspectionError(str(error)) from error

    def from_server(self, data: bytes) -> bytes:
        self._answer += data
        switched = http.switches(self._answer) if data else False
        if switched is None:
            return b""
        self.listens = self.awaits = False
        if not switched:
            return self._read(self._requests.stay)
        if self._requests.upgrade != "websocket":
            raise InspectionError(f"goes on in {self._requests.upgrade}, where requests may name another host")
        self.looks, self.note = False, "upgraded to websocket"
        return self._requests.rest()


class Watched(Tls):
    """Nothing needs to be said, and a server may speak first."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.decided = True
        self._is_tls: bool | None = None
        self._head = b""

    def from_client(self, data: bytes) -> bytes:
        if self._is_tls:
            return super().from_client(data)
        self._head += data
        self._is_tls = tls.may_be_tls(self._head) if data else False
        if self._is_tls is None:
            return b""
        head, self._head = self._head, b""
        if self._is_tls:
            return super().from_client(head)
        target = http.connect_target(head)
        self.note = f"asks to be led on to {target}" if target else ""
        self.looks = False
        return head


_KINDS: dict[str, type[Inspector]] = {hosts.TLS: Tls, hosts.HEAD: Http, hosts.WATCH: Watched}


def inspector(name: str, kind: str) -> Inspector | None:
    """For what ``hosts.inspection`` says; None where nothing is looked at."""
    return _KINDS[kind](name) if kind in _KINDS else None
