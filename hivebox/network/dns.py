"""DNS messages: questions of the payload and answers to it, questions upstream and answers from there. Pure.

RFC 1035, 2308, 6891, 9460. Nothing here raises but DnsError, and no loop runs longer than the message: a compression
pointer must lead backwards, to a place before the one where it is read.
"""

from __future__ import annotations

import ipaddress
import struct

from hivebox.frozen import Frozen
from hivebox.network.addresses import Address
from hivebox.policy.hosts import host_name

A, CNAME, AAAA, OPT = 1, 5, 28, 41
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
_HEADER = struct.Struct(">HHHHHH")
_RECORD = struct.Struct(">HHIH")
_RESPONSE, _AUTHORITATIVE, _TRUNCATED, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x400, 0x200, 0x100, 0x80
_OPCODE, _RCODE = 0x7800, 0xF
_MOST_RECORDS, _MOST_ALIASES = 256, 16
UDP_SIZE = 1232


class DnsError(Exception):
    """``rcode`` is what to answer, or None where nothing should be."""

    def __init__(self, rcode: int | None) -> None:
        super().__init__(rcode)
        self.rcode = rcode


class Question(Frozen):
    """``name`` is canonical, "" for what is no host name; ``shown`` is for people. ``section`` is as it was sent."""

    number: int
    flags: int
    name: str
    shown: str
    kind: int
    section: bytes


class Answer(Frozen):
    """What an upstream server says. ``ttl_s`` is the smallest on the way."""

    rcode: int
    truncated: bool
    addresses: tuple[Address, ...] = ()
    ttl_s: int = 0


def _labels(message: bytes, at: int) -> tuple[tuple[bytes, ...], int]:
    """A name that may be compressed, and where it ends. Raises DnsError."""
    labels: list[bytes] = []
    end, limit, size = -1, at + 1, 0
    while True:
        if at >= len(message):
            raise DnsError(FORMERR)
        length = message[at]
        if length >= 0xC0:
            if at + 1 >= len(message):
                raise DnsError(FORMERR)
            end = at + 2 if end < 0 else end
            at = (length & 0x3F) << 8 | message[at + 1]
            if at >= limit - 1:  # only backwards, so that it ends
                raise DnsError(FORMERR)
            limit = at + 1
            continue
        if length > 63 or at + 1 + length > len(message):
            raise DnsError(FORMERR)
        at += 1 + length
        if not length:
            return tuple(labels), at if end < 0 else end
        size += 1 + length
        if size > 254:
            raise DnsError(FORMERR)
        labels.append(message[at - length : at])


def _name(labels: tuple[bytes, ...]) -> str:
    """Canonical, or "". A dot within a label would make two names of one spelling."""
    if any(b"." in label for label in labels):
        return ""
    return host_name(b".".join(labels).decode("latin-1"))


def _shown(labels: tuple[bytes, ...]) -> str:
    """With what is not printable made visible: it goes to a terminal."""
    return ".".join(repr(label)[2:-1].replace(".", "\\.") for label in labels) or "."


def parse_question(message: bytes) -> Question:
    """What a client asks. Raises DnsError."""
    if len(message) < _HEADER.size:
        raise DnsError(None)
    number, flags, questions, answers, authorities, _ = _HEADER.unpack_from(message)
    if flags & _RESPONSE:
        raise DnsError(None)
    if flags & _OPCODE:
        raise DnsError(NOTIMP)
    if questions != 1 or answers or authorities:
        raise DnsError(FORMERR)
    labels, end = _labels(message, _HEADER.size)
    if end + 4 > len(message):
        raise DnsError(FORMERR)
    kind, class_ = struct.unpack_from(">HH", message, end)
    if class_ != IN:
        raise DnsError(REFUSED)
    return Question(number, flags, _name(labels), _shown(labels), kind, message[_HEADER.size : end + 4])


def answer(question: Question, rcode: int, addresses: tuple[Address, ...] = (), ttl_s: int = 0) -> bytes:
    """To the client: its own question, and these addresses."""
    flags = _RESPONSE | _RECURSION_AVAILABLE | question.flags & _RECURSION_DESIRED | rcode
    records = b"".join(
        b"\xc0\x0c" + _RECORD.pack(question.kind, IN, ttl_s, len(each.packed)) + each.packed for each in addresses
    )
    return _HEADER.pack(question.number, flags, 1, len(addresses), 0, 0) + question.section + records


def refuse(message: bytes, rcode: int) -> bytes:
    """To a client whose question could not be read."""
    number, flags = struct.unpack_from(">HH", message)
    return _HEADER.pack(number, _RESPONSE | flags & (_OPCODE | _RECURSION_DESIRED) | rcode, 0, 0, 0, 0)


def question(number: int, name: str, kind: int) -> bytes:
    """To an upstream server, with EDNS, so that few answers need TCP."""
    labels = b"".join(bytes((len(label),)) + label for label in name.encode("ascii").split(b"."))
    additional = b"\0" + struct.pack(">HHIH", OPT, UDP_SIZE, 0, 0)
    return (
        _HEADER.pack(number, _RECURSION_DESIRED, 1, 0, 0, 1)
        + labels
        + b"\0"
        + struct.pack(">HH", kind, IN)
        + additional
    )


def parse_answer(message: bytes, number: int, name: str, kind: int) -> Answer:
    """What upstream says to exactly this question. Raises DnsError for anything else: a forged or late answer is
    not one."""
    if len(message) < _HEADER.size:
        raise DnsError(None)
    got, flags, questions, answers, _, _ = _HEADER.unpack_from(message)
    if got != number or not flags & _RESPONSE or flags & _OPCODE:
        raise DnsError(None)
    if questions != 1:  # some servers leave it out of an error
        rcode = flags & _RCODE
        if rcode in {NOERROR, NXDOMAIN}:
            raise DnsError(None)
        return Answer(rcode, truncated=False)
    labels, at = _labels(message, _HEADER.size)
    if _name(labels) != name or message[at : at + 4] != struct.pack(">HH", kind, IN):
        raise DnsError(None)
    if flags & _TRUNCATED:
        return Answer(flags & _RCODE, truncated=True)
    addresses, ttl_s = _follow(message, at + 4, min(answers, _MOST_RECORDS), name, kind)
    return Answer(flags & _RCODE, False, addresses, ttl_s)


def _follow(message: bytes, at: int, records: int, name: str, kind: int) -> tuple[tuple[Address, ...], int]:
    """The addresses at the end of the chain of aliases that starts with ``name``."""
    aliases: dict[str, tuple[str, int]] = {}
    found: dict[str, list[tuple[Address, int]]] = {}
    for _ in range(records):
        labels, at = _labels(message, at)
        if at + _RECORD.size > len(message):
            raise DnsError(FORMERR)
        got, class_, ttl_s, size = _RECORD.unpack_from(message, at)
        start, at = at + _RECORD.size, at + _RECORD.size + size
        if at > len(message):
            raise DnsError(FORMERR)
        owner = _name(labels)
        if class_ != IN or not owner:
            continue
        if got == CNAME:
            aliases[owner] = _name(_labels(message, start)[0]), ttl_s
        elif got == kind and size == (4 if kind == A else 16):
            found.setdefault(owner, []).append((ipaddress.ip_address(message[start:at]), ttl_s))
    smallest = 1 << 31
    for _ in range(_MOST_ALIASES):
        if name in found:
            return tuple(each for each, _ in found[name]), min(smallest, *(ttl for _, ttl in found[name]))
        name, ttl_s = aliases.get(name, ("", 0))
        smallest = min(smallest, ttl_s)
    return (), 0
