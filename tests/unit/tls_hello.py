"""ClientHellos to order."""

from __future__ import annotations

import functools
import ssl
import struct

_RETRY_RANDOM = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")


def vector(size: int, content: bytes) -> bytes:
    return len(content).to_bytes(size, "big") + content


def server_name(*names: bytes, kind: int = 0) -> bytes:
    return vector(2, b"".join(bytes((kind,)) + vector(2, name) for name in names))


def message(*extensions: tuple[int, bytes], trailing: bytes = b"") -> bytes:
    body = b"\x03\x03" + bytes(32) + vector(1, b"") + vector(2, b"\x13\x01") + vector(1, b"\0")
    body += vector(2, b"".join(struct.pack(">H", kind) + vector(2, content) for kind, content in extensions)) + trailing
    return b"\x01" + vector(3, body)


def records(handshake: bytes, size: int = 1 << 14, version: bytes = b"\x03\x01") -> bytes:
    pieces = [handshake[at : at + size] for at in range(0, len(handshake), size)]
    return b"".join(b"\x16" + version + vector(2, piece) for piece in pieces)


def hello(name: str, *more: tuple[int, bytes]) -> bytes:
    return records(message((0, server_name(name.encode())), *more))


@functools.cache
def openssl_hello(name: str | None) -> bytes:
    """What a real client sends."""
    context = ssl.create_default_context()
    if name is None:
        context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def retry() -> bytes:
    """A HelloRetryRequest."""
    body = b"\x03\x03" + _RETRY_RANDOM + vector(1, b"") + b"\x13\x01\0" + vector(2, b"\0\x2b" + vector(2, b"\x03\x04"))
    return records(b"\x02" + vector(3, body), version=b"\x03\x03")
