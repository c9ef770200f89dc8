"""Which host an HTTP/1 request is for. Pure. RFC 9112 sections 3 and 5, strictly: what two servers could read in two
ways is refused."""

from __future__ import annotations

import re

from hivebox.frozen import Frozen
from hivebox.policy.hosts import host_name

_MOST_HEAD = 1 << 16
_END = b"\r\n\r\n"
_REQUEST_LINE = re.compile(rb"([A-Z][A-Z-]{0,31}) ([\x21-\x7e]+) HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff\t]*)")
_ABSOLUTE = re.compile(rb"[a-z]+://([^/?#]*)", re.IGNORECASE)
_AUTHORITY = re.compile(r"([A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")


class HttpError(Exception):
    """Not a request for one host; the text says why."""


class Request(Frozen):
    """``names`` are all the hosts it names, canonical; ``target`` is what a CONNECT asks to be led to."""

    names: frozenset[str]
    target: str


class HeadReader:
    """``feed`` until it answers."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Request | None:
        """The request's head, or None when more bytes are needed. Raises HttpError."""
        seen = max(len(self._data) - len(_END), 0)
        self._data += data
        end = self._data.find(_END, seen)
        if end > _MOST_HEAD or (end < 0 and len(self._data) > _MOST_HEAD):
            raise HttpError("a request head of more than 64 KiB")
        if end < 0:
            if not seen and self._data[:1] and not self._data[:1].isupper():
                raise HttpError("not HTTP")
            return None
        return parse_head(bytes(self._data[:end]))


def parse_head(head: bytes) -> Request:
    """Request line and fields, without the empty line. Raises HttpError."""
    first, *lines = head.split(b"\r\n")
    line = _REQUEST_LINE.fullmatch(first)
    if not line:
        raise HttpError("not an HTTP/1 request")
    method, target = line.groups()
    fields = [_FIELD.fullmatch(each) for each in lines]
    if not all(fields):
        raise HttpError("a malformed field")
    hosts = [field[2] for field in fields if field and field[1].lower() == b"host"]
    if len(hosts) != 1:
        raise HttpError("no Host field" if not hosts else "more than one Host field")
    names = {_name(hosts[0].strip(b" \t"))}
    absolute = _ABSOLUTE.match(target)
    if method == b"CONNECT":
        names.add(_name(target))
    elif absolute:
        names.add(_name(absolute[1]))
    elif not target.startswith(b"/") and target != b"*":
        raise HttpError("a request target of unknown form")
    return Request(frozenset(names), target.decode("ascii") if method == b"CONNECT" else "")


def _name(authority: bytes) -> str:
    """The host of ``host[:port]``."""
    matched = _AUTHORITY.fullmatch(authority.decode("latin-1"))
    name = host_name(matched[1]) if matched else ""
    if not name:
        raise HttpError(f"no host name: {authority[:80].decode('latin-1')!r}")
    return name


def connect_target(head: bytes) -> str:
    """Whom a client that speaks to a proxy asks to be led to, from its first bytes, as far as they came; "" if it
    does not."""
    matched = re.match(rb"CONNECT ([\x21-\x7e]{1,300}) HTTP/", head)
    return matched[1].decode("ascii") if matched else ""
