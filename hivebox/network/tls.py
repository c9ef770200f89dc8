"""Which host a TLS client asks for: the ClientHello from a stream that its sender may fragment, stretch or forge.

Pure and incremental: each byte is looked at once, whatever the size of the pieces. RFC 8446 section 4.1.2, RFC 6066
section 3 (server_name), RFC 9849 (encrypted ClientHello). What a server would accept and this parser does not is
refused; that costs a connection, never the reverse.
"""

from __future__ import annotations

from hivebox.frozen import Frozen
from hivebox.policy.hosts import host_name

_HANDSHAKE, _CLIENT_HELLO, _SERVER_HELLO, _CHANGE_CIPHER = 22, 1, 2, 20
_SERVER_NAME, _ECH, _HOST_NAME = 0, 0xFE0D, 0
_MOST_RECORD = 1 << 14
_MOST_HELLO = 1 << 15  # the largest post-quantum ones are below 4 KiB
# RFC 8446 section 4.1.3: the random of a ServerHello that asks for another ClientHello.
_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
_RETRY_AT = 5 + 4 + 2
RETRY_SIZE = _RETRY_AT + len(_RETRY)


class TlsError(Exception):
    """Not a ClientHello that says one name; the text says why."""


class Hello(Frozen):
    """``name`` is canonical, "" when the client names none. ``ech``: it may name another inside."""

    name: str
    ech: bool


class HelloReader:
    """``feed`` until it answers. One per hello. After a retry the second one may follow a ChangeCipherSpec."""

    def __init__(self, *, second: bool = False) -> None:
        self._record = bytearray()
        self._message = bytearray()
        self._second = second

    def rest(self) -> bytes:
        """What was fed and came after the hello."""
        return bytes(self._record)

    def feed(self, data: bytes) -> Hello | None:
        """The hello, or None when more bytes are needed. Raises TlsError."""
        self._record += data
        while len(self._record) >= 5:
            size = self._record_size()
            if len(self._record) < 5 + size:
                return None
            fragment, kind = bytes(self._record[5 : 5 + size]), self._record[0]
            del self._record[: 5 + size]
            if kind == _HANDSHAKE:
                self._message += fragment
            if self._whole():
                return parse_hello(bytes(self._message))
        return None

    def _record_size(self) -> int:
        kind, major, size = self._record[0], self._record[1], int.from_bytes(self._record[3:5], "big")
        if kind == _CHANGE_CIPHER and self._second and size == 1:
            return size
        if kind != _HANDSHAKE or major != 3:
            raise TlsError("not TLS")
        if not 0 < size <= _MOST_RECORD:
            raise TlsError("a record of impossible length")
        return size

    def _whole(self) -> bool:
        if not self._message:
            return False
        if self._message[0] != _CLIENT_HELLO:
            raise TlsError("not a ClientHello")
        if len(self._message) < 4:
            return False
        size = int.from_bytes(self._message[1:4], "big")
        if size > _MOST_HELLO:
            raise TlsError("a ClientHello of impossible length")
        if len(self._message) > 4 + size:
            raise TlsError("something follows the ClientHello in its record")
        return len(self._message) == 4 + size


class _Reader:
    """Vectors with a length before them, never past the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise TlsError("a length field points past the end")
        piece, self._at = self._data[self._at : end], end
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, length_size: int) -> _Reader:
        return _Reader(self.take(self.number(length_size)))

    def more(self) -> bool:
        return self._at < len(self._data)


def parse_hello(message: bytes) -> Hello:
    """One whole handshake message. Raises TlsError."""
    hello = _Reader(message[4:])
    hello.take(2 + 32)
    for length_size in (1, 2, 1):  # session id, cipher suites, compression methods
        hello.vector(length_size)
    if not hello.more():
        return Hello("", ech=False)
    extensions = hello.vector(2)
    if hello.more():
        raise TlsError("something follows the extensions")
    found: dict[int, _Reader] = {}
    while extensions.more():
        kind = extensions.number(2)
        if kind in found:
            raise TlsError("an extension is given twice")
        found[kind] = extensions.vector(2)
    name = _server_name(found[_SERVER_NAME]) if _SERVER_NAME in found else ""
    return Hello(name, ech=_ECH in found)


def _server_name(extension: _Reader) -> str:
    names = extension.vector(2)
    if names.number(1) != _HOST_NAME:
        raise TlsError("a server name of unknown type")
    raw = names.vector(2)
    if names.more() or extension.more():
        raise TlsError("more than one server name")
    text = raw.take(len(raw._data)).decode("latin-1")
    name = host_name(text)
    if not name or text.endswith("."):
        raise TlsError("the server name is no host name")
    return name


def asks_for_retry(head: bytes) -> bool:
    """Whether a server's first RETRY_SIZE bytes are a HelloRetryRequest: the client then says its name once more, and
    it may be another."""
    return head[:1] == bytes((_HANDSHAKE,)) and head[5:6] == bytes((_SERVER_HELLO,)) and head[_RETRY_AT:] == _RETRY


def may_be_tls(head: bytes) -> bool | None:
    """From a client's first bytes; None when they are too few to say."""
    if head[:1] != bytes((_HANDSHAKE,)):
        return False
    return head[1] == 3 if len(head) > 1 else None
