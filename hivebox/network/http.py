"""Which host an HTTP/1 request is for, and where it ends. Pure. RFC 9112, strictly: what two servers could read in two
ways is refused."""

from __future__ import annotations

import re

from hivebox.frozen import Frozen
from hivebox.policy.hosts import host_name

LINE_END = b"\r\n"
_REQUEST_LINE = re.compile(rb"([A-Z][A-Z-]{0,31}) ([\x21-\x7e]+) HTTP/1\.([01])")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff\t]*)")
_ABSOLUTE = re.compile(rb"[a-z]+://([^/?#]*)", re.IGNORECASE)
_AUTHORITY = re.compile(r"([A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_LENGTH = re.compile(rb"[0-9]{1,18}")
CHUNKED = -1
_LONGEST_SHOWN = 80


class HttpError(Exception):
    """Not a request for one host; the text says why."""


class Request(Frozen):
    """``names`` are all the hosts it names, canonical; ``target`` is what a CONNECT asks to be led to; ``length`` is
    that of its body, CHUNKED where the body says so itself; ``upgrade`` is the protocol it would rather speak."""

    names: frozenset[str]
    target: str
    length: int = 0
    upgrade: str = ""


def parse_head(head: bytes) -> Request:
    """Request line and fields, without the empty line. Raises HttpError."""
    first, *lines = head.split(LINE_END)
    line = _REQUEST_LINE.fullmatch(first)
    if not line:
        raise HttpError("not an HTTP/1 request")
    method, target, minor = line.groups()
    fields = _fields(lines)
    names = {_name(fields.get(b"host"))}
    absolute = _ABSOLUTE.match(target)
    if method == b"CONNECT":
        names.add(_name(target))
    elif absolute:
        names.add(_name(absolute[1]))
    elif not target.startswith(b"/") and target != b"*":
        raise HttpError("a request target of unknown form")
    upgrade = fields.get(b"upgrade", b"")[:_LONGEST_SHOWN].lower().decode("ascii", "backslashreplace")
    connect = target.decode("ascii") if method == b"CONNECT" else ""
    return Request(frozenset(names), connect, _body_length(fields, minor), upgrade)


_ONCE = {
    b"host": "Host",
    b"content-length": "Content-Length",
    b"transfer-encoding": "Transfer-Encoding",
    b"upgrade": "Upgrade",
}


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    """Of the fields that matter here, each at most once."""
    found: dict[bytes, bytes] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if not field:
            raise HttpError("a malformed field")
        name, value = field[1].lower(), field[2].strip(b" \t")
        if name in _ONCE and name in found:
            raise HttpError(f"more than one {_ONCE[name]} field")
        found[name] = value
    return found


def _body_length(fields: dict[bytes, bytes], minor: bytes) -> int:
    coding, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
    if coding is not None:
        if coding.lower() != b"chunked" or length is not None or minor == b"0":
            raise HttpError("a body that ends in more than one way")
        return CHUNKED
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length):
        raise HttpError("a Content-Length that is no plain number")
    return int(length)


def _name(authority: bytes | None) -> str:
    """The host of ``host[:port]``."""
    if authority is None:
        raise HttpError("no Host field")
    matched = _AUTHORITY.fullmatch(authority.decode("latin-1"))
    name = host_name(matched[1]) if matched else ""
    if not name:
        raise HttpError(f"no host name: {authority[:_LONGEST_SHOWN].decode('latin-1')!r}")
    return name


def connect_target(head: bytes) -> str:
    """Whom a client that speaks to a proxy asks to be led to, from its first bytes, as far as they came; "" if it
    does not."""
    matched = re.match(rb"CONNECT ([\x21-\x7e]{1,300}) HTTP/", head)
    return matched[1].decode("ascii") if matched else ""


def switches(answer: bytes) -> bool | None:
    """Whether a server's first bytes agree to an upgrade; None when they are too few to say."""
    if len(answer) < len(b"HTTP/1.1 101"):
        return None
    return re.match(rb"HTTP/1\.[01] 101", answer) is not None
