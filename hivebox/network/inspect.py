"""For whom a connection is, by its own first words. Pure."""

from __future__ import annotations

from hivebox.network import http, tls
from hivebox.network.events import HOST, SNI
from hivebox.policy import hosts


class InspectionError(Exception):
    """The words name another host, or none; the text says which."""


class Inspector:
    """The first bytes of a client, until they say for whom the connection is."""

    def __init__(self, name: str, kind: str, *, second: bool = False) -> None:
        self._name = name
        self.kind = kind
        self.data = b""
        self.verified = False
        self.note = ""
        self._tls = tls.HelloReader(second=second)
        self._http = http.HeadReader()

    @property
    def layer(self) -> str:
        return HOST if self.kind == hosts.HEAD else SNI

    def rest(self) -> bytes:
        """Of ``data``, what came after the ClientHello."""
        return self._tls.rest() if self.kind == hosts.TLS else b""

    def feed(self, data: bytes) -> bool:
        """Whether it is decided. Raises InspectionError when it must be refused."""
        self.data += data
        try:
            return self._decide(data)
        except (tls.TlsError, http.HttpError) as error:
            raise InspectionError(str(error)) from error

    def _decide(self, data: bytes) -> bool:
        if self.kind == hosts.HEAD:
            return self._check_head(data)
        if self.kind == hosts.WATCH:
            return self._watch()
        return self._check_hello(data)

    def _watch(self) -> bool:
        """A port whose protocol is not known: what is TLS is checked as such, all else passes."""
        is_tls = tls.may_be_tls(self.data)
        if is_tls is None:
            return False
        if not is_tls:
            target = http.connect_target(self.data)
            self.note = f"asks to be led on to {target}" if target else ""
            return True
        self.kind = hosts.TLS
        return self._check_hello(self.data)

    def _check_hello(self, data: bytes) -> bool:
        hello = self._tls.feed(data)
        if hello is None:
            return False
        if not hello.name:
            raise tls.TlsError("the ClientHello names no server")
        if hello.ech:
            raise tls.TlsError("the ClientHello may name another server, encrypted (ECH)")
        if hello.name != self._name:
            raise tls.TlsError(f"the ClientHello names {hello.name}")
        self.verified = True
        return True

    def _check_head(self, data: bytes) -> bool:
        request = self._http.feed(data)
        if request is None:
            return False
        others = sorted(request.names - {self._name})
        if others:
            raise http.HttpError(f"the request is for {request.target or ', '.join(others)}")
        self.verified = True
        return True
