"""DNS messages, from both sides."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivebox.network import dns
from hivebox.network.dns import Answer, DnsError, parse_answer, parse_question

ADDRESS = ipaddress.ip_address("203.0.113.7")


def labels(*parts: bytes) -> bytes:
    return b"".join(bytes((len(part),)) + part for part in parts) + b"\0"


def asked(
    name: bytes, *, kind: int = 1, class_: int = 1, flags: int = 0x100, counts: tuple[int, ...] = (1, 0, 0, 0)
) -> bytes:
    return struct.pack(">HH4H", 7, flags, *counts) + name + struct.pack(">HH", kind, class_)


def test_a_question_is_read_and_answered() -> None:
    question = parse_question(dns.question(7, "pypi.example", dns.A))
    assert (question.number, question.name, question.kind) == (7, "pypi.example", dns.A)
    answer = dns.answer(question, dns.NOERROR, (ADDRESS,), 60)
    assert parse_answer(answer, 7, "pypi.example", dns.A) == Answer(0, False, (ADDRESS,), 60)


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        ((b"PyPI", b"Example"), "pypi.example"),
        ((b"_x", b"a-b", b"example"), "_x.a-b.example"),
        ((b"pypi.example",), ""),  # a dot in a label
        ((b"pypi\0", b"example"), ""),
        ((b"pypi%00", b"example"), ""),
        (("bücher".encode(), b"example"), ""),
        ((b"xn--bcher-kva", b"example"), "xn--bcher-kva.example"),
        ((b"192", b"0", b"2", b"1"), ""),
        ((b"example", b"0x7f"), ""),
        ((b"-a", b"example"), ""),
        ((), ""),
    ],
)
def test_names_have_one_spelling_or_none(parts: tuple[bytes, ...], name: str) -> None:
    assert parse_question(asked(labels(*parts))).name == name


def test_a_name_that_is_none_is_shown_without_control_characters() -> None:
    shown = parse_question(asked(labels(b"\x1b[2Ja.b", b"\xff\0", b"\n", b"\\"))).shown
    assert shown == "\\x1b[2Ja\\.b.\\xff\\x00.\\n.\\\\" and shown.isprintable()


def test_the_case_of_the_question_comes_back() -> None:
    question = parse_question(asked(labels(b"PyPI", b"eXample")))
    assert b"\x04PyPI\x07eXample" in dns.answer(question, dns.NXDOMAIN)


@pytest.mark.parametrize(
    ("message", "rcode"),
    [
        (b"", None),
        (b"\0" * 11, None),
        (asked(labels(b"a"), flags=0x8100), None),  # an answer
        (asked(labels(b"a"), flags=0x2800), dns.NOTIMP),  # UPDATE
        (asked(labels(b"a"), counts=(2, 0, 0, 0)), dns.FORMERR),
        (asked(labels(b"a"), counts=(0, 0, 0, 0)), dns.FORMERR),
        (asked(labels(b"a"), counts=(1, 1, 0, 0)), dns.FORMERR),
        (asked(labels(b"a"), class_=3), dns.REFUSED),  # CHAOS
        (asked(b"\x40" + b"a" * 64 + b"\0"), dns.FORMERR),
        (asked(b"\xc0\x0c"), dns.FORMERR),  # to itself
        (asked(b"\x01a\xc0\x0c"), dns.FORMERR),  # a circle
        (asked(b"\xc0\xff"), dns.FORMERR),  # forward
        (asked(labels(*[b"a" * 63] * 4)), dns.FORMERR),
        (asked(labels(b"a"))[:-3], dns.FORMERR),
        (struct.pack(">HH4H", 7, 0x100, 1, 0, 0, 0), dns.FORMERR),
    ],
)
def test_malformed_questions(message: bytes, rcode: int | None) -> None:
    with pytest.raises(DnsError) as raised:
        parse_question(message)
    assert raised.value.rcode == rcode
    if rcode is not None:
        assert dns.refuse(message, rcode)[3] & 0xF == rcode


def record(owner: bytes, kind: int, content: bytes, ttl: int = 60) -> bytes:
    return owner + struct.pack(">HHIH", kind, 1, ttl, len(content)) + content


def answered(*records: bytes, flags: int = 0x8180, number: int = 7, name: bytes = labels(b"a", b"example")) -> bytes:
    return struct.pack(">HH4H", number, flags, 1, len(records), 0, 0) + name + b"\0\1\0\1" + b"".join(records)


HERE = b"\xc0\x0c"


def test_aliases_are_followed_within_the_answer() -> None:
    message = answered(
        record(labels(b"c", b"example"), dns.A, bytes((203, 0, 113, 9))),
        record(HERE, dns.CNAME, labels(b"b", b"example"), ttl=5),
        record(labels(b"b", b"example"), dns.CNAME, labels(b"c", b"example"), ttl=30),
        record(labels(b"other", b"example"), dns.A, bytes((192, 0, 2, 66))),
    )
    assert parse_answer(message, 7, "a.example", dns.A) == Answer(0, False, (ipaddress.ip_address("203.0.113.9"),), 5)


def test_a_circle_of_aliases_has_no_address() -> None:
    message = answered(record(HERE, dns.CNAME, HERE))
    assert parse_answer(message, 7, "a.example", dns.A).addresses == ()


def test_addresses_of_other_names_do_not_count() -> None:
    message = answered(record(labels(b"evil", b"example"), dns.A, bytes((192, 0, 2, 66))))
    assert parse_answer(message, 7, "a.example", dns.A).addresses == ()


@pytest.mark.parametrize(
    "message",
    [
        answered(number=8),
        answered(flags=0x0180),
        answered(name=labels(b"b", b"example")),
        answered(record(HERE, dns.A, bytes(4)))[:-2],
        answered(record(b"\xc0\x40", dns.A, bytes(4))),
    ],
)
def test_what_is_no_answer_to_the_question_is_none(message: bytes) -> None:
    with pytest.raises(DnsError):
        parse_answer(message, 7, "a.example", dns.A)


def test_truncation_and_errors_are_told() -> None:
    assert parse_answer(answered(flags=0x8380), 7, "a.example", dns.A).truncated
    assert parse_answer(answered(flags=0x8183), 7, "a.example", dns.A) == Answer(dns.NXDOMAIN, truncated=False)
    headless = struct.pack(">HH4H", 7, 0x8182, 0, 0, 0, 0)
    assert parse_answer(headless, 7, "a.example", dns.A) == Answer(dns.SERVFAIL, truncated=False)


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=300))
def test_any_question_is_read_or_refused(message: bytes) -> None:
    try:
        question = parse_question(message)
    except DnsError:
        return
    assert question.section in message
    assert dns.answer(question, dns.NXDOMAIN)[:2] == message[:2]


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_any_answer_is_read_or_refused(tail: bytes, whole: bool) -> None:
    message = answered() + tail if whole else tail
    message = message[:6] + b"\0\x08" + message[8:]
    try:
        answer = parse_answer(message, 7, "a.example", dns.A)
    except DnsError:
        return
    assert len(answer.addresses) <= 8
