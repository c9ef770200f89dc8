"""One function for each parser: any bytes, and the properties that must hold of what it makes of them."""

from __future__ import annotations

from hivebox.network import dns, http, tls
from hivebox.network.http_stream import RequestReader
from hivebox.network.inspect import InspectionError, inspector
from hivebox.policy import hosts

ALLOWED = "pypi.example"
_KINDS = (hosts.TLS, hosts.HEAD, hosts.WATCH)


def _pieces(data: bytes) -> list[bytes]:
    """The first byte says how the rest is cut."""
    step = data[0] % 64 + 1 if data else 1
    return [data[at : at + step] for at in range(1, len(data), step)]


def hello(data: bytes) -> tls.Hello | None:
    """A name is only read where its bytes are, and the same however they are cut."""

    def outcome(pieces: list[bytes]) -> tuple[tls.Hello | None, str]:
        reader = tls.HelloReader()
        try:
            return next(filter(None, map(reader.feed, pieces)), None), ""
        except tls.TlsError as error:
            return None, str(error)

    found, why = outcome(_pieces(data))
    whole, other_why = outcome([data[1:]])
    assert found is None or not found.name or found.name.encode() in _unframed(data[1:]).lower()
    assert found is None or whole is None or found == whole
    assert found is None or not why
    assert not other_why or found is None or whole is None
    return found


def _unframed(stream: bytes) -> bytes:
    """The content of the records, in one piece."""
    content, at = b"", 0
    while at + 5 <= len(stream):
        size = int.from_bytes(stream[at + 3 : at + 5], "big")
        content += stream[at + 5 : at + 5 + size]
        at += 5 + size
    return content


def question(data: bytes) -> dns.Question | None:
    """A name has one spelling, and its answer repeats the question."""
    try:
        asked = dns.parse_question(data)
    except dns.DnsError as error:
        if error.rcode is not None:
            assert len(dns.refuse(data, error.rcode)) == 12
        return None
    assert asked.name == hosts.host_name(asked.name)
    assert asked.section in data
    answer = dns.answer(asked, dns.NXDOMAIN)
    assert answer[:2] == data[:2] and answer[12:] == asked.section
    return asked


def answer(data: bytes) -> dns.Answer | None:
    """From upstream, to a question that was asked; its number and name are put in, so that the rest is reached."""
    message = b"\0\7\x81\x80\0\1" + data[6:12] + b"\4pypi\7example\0\0\1\0\1" + data[12:]
    try:
        found = dns.parse_answer(message, 7, ALLOWED, dns.A)
    except dns.DnsError:
        return None
    assert all(each.version == 4 and each.packed in message for each in found.addresses)
    assert found.ttl_s >= 0
    return found


def requests(data: bytes) -> list[http.Request]:
    """What passes is what came, as far as it was approved, and read again it is the same requests."""

    def outcome(pieces: list[bytes]) -> tuple[list[http.Request], bytes]:
        found: list[http.Request] = []
        reader, passed = RequestReader(found.append), b""
        try:
            for piece in pieces:
                passed += reader.feed(piece)
        except http.HttpError:
            pass
        return found, passed

    found, passed = outcome(_pieces(data))
    assert data[1:].startswith(passed)
    assert all(name.encode() in data.lower() for request in found for name in request.names)
    again, all_of_it = outcome([passed])
    assert all_of_it == passed and again == found[: len(again)]
    return found


def inspect(data: bytes) -> bool:
    """What was looked at and passes is for the host that was allowed."""
    looking = inspector(ALLOWED, _KINDS[data[1] % 3] if len(data) > 1 else hosts.TLS)
    assert looking
    passed = b""
    try:
        for number, piece in enumerate(_pieces(data[1:])):
            if looking.listens and number % 2:
                passed += looking.from_server(piece)
            elif looking.looks and not looking.awaits:
                passed += looking.from_client(piece)
    except InspectionError:
        return False
    assert not looking.verified or ALLOWED.encode() in _unframed(data[2:]).lower() or ALLOWED.encode() in data.lower()
    return looking.verified


TARGETS = {"tls": hello, "dns": question, "dns-answer": answer, "http": requests, "inspect": inspect}
