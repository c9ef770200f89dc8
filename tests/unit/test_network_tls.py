"""The ClientHello parser: real hellos, forged ones, and every way to cut them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivebox.network.tls import Hello, HelloReader, TlsError, asks_for_retry, may_be_tls
from tests.unit.tls_hello import hello, message, openssl_hello, records, retry, server_name


def read(stream: bytes, step: int = 1 << 20, *, second: bool = False) -> Hello | None:
    reader = HelloReader(second=second)
    for at in range(0, len(stream), step):
        found = reader.feed(stream[at : at + step])
        if found:
            return found
    return None


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100, 1 << 20])
def test_a_real_hello_is_read_however_it_is_cut(step: int) -> None:
    assert read(openssl_hello("pypi.example"), step) == Hello("pypi.example", ech=False)


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_a_hello_may_be_cut_into_records(size: int) -> None:
    stream = records(message((0, server_name(b"pypi.example"))), size)
    assert read(stream, 3) == Hello("pypi.example", ech=False)


def test_a_hello_without_a_name_has_none() -> None:
    assert read(openssl_hello(None)) == Hello("", ech=False)
    assert read(records(message())) == Hello("", ech=False)


def test_case_does_not_matter() -> None:
    assert read(hello("PyPI.Example")) == Hello("pypi.example", ech=False)


def test_ech_is_seen() -> None:
    assert read(hello("pypi.example", (0xFE0D, b"\0"))) == Hello("pypi.example", ech=True)


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (b"GET / HTTP/1.1\r\n", "not TLS"),
        (b"\x80\x2e\x01\x03\x01", "not TLS"),  # SSL 2
        (b"\x16\x02\x00\x00\x05", "not TLS"),
        (b"\x16\x03\x01\x00\x00", "impossible length"),
        (b"\x16\x03\x01\xff\xff", "impossible length"),
        (b"\x15\x03\x01\x00\x02\x01\x00", "not TLS"),
        (records(b"\x02\x00\x00\x00"), "not a ClientHello"),
        (records(b"\x01\xff\xff\xff"), "impossible length"),
        (records(b"\x01\x00\x00\x02\x03\x03"), "past the end"),
        (records(message((0, server_name(b"a.example")), (0, server_name(b"b.example")))), "twice"),
        (records(message((0, server_name(b"a.example", b"b.example")))), "more than one"),
        (records(message((0, server_name(b"a.example") + b"\0"))), "more than one"),
        (records(message((0, server_name(b"a.example", kind=1)))), "unknown type"),
        (records(message((0, server_name(b"")))), "no host name"),
        (records(message((0, server_name(b"a.example.")))), "no host name"),
        (records(message((0, server_name(b"a.example\0.b.example")))), "no host name"),
        (records(message((0, server_name(b"192.0.2.1")))), "no host name"),
        (records(message((0, server_name("bücher.example".encode())))), "no host name"),
        (records(message((0, b""))), "past the end"),
        (records(message((0, b"\xff\xff\0"))), "past the end"),
        (records(message(trailing=b"x")), "follows the extensions"),
        (records(message((0, server_name(b"a.example"))) + message()), "follows the ClientHello"),
    ],
)
def test_forged_hellos_are_refused(stream: bytes, why: str) -> None:
    with pytest.raises(TlsError, match=why):
        read(stream, 1 << 20)
    with pytest.raises(TlsError, match=why):
        read(stream, 1)


def test_an_endless_hello_is_not_kept() -> None:
    reader = HelloReader()
    with pytest.raises(TlsError, match="impossible length"):
        reader.feed(records(b"\x01\x01\x00\x00" + bytes(1 << 14)))


def test_what_follows_the_hello_is_told_apart() -> None:
    reader = HelloReader()
    assert reader.feed(hello("a.example") + b"\x17\x03\x03early data")
    assert reader.rest() == b"\x17\x03\x03early data"


def test_a_retry_is_recognised_and_the_second_hello_may_follow_a_cipher_change() -> None:
    assert asks_for_retry(retry()[:43])
    assert not asks_for_retry(retry().replace(b"\xcf\x21", b"\xcf\x22")[:43])
    change = b"\x14\x03\x03\x00\x01\x01"
    assert read(change + hello("b.example"), second=True) == Hello("b.example", ech=False)
    with pytest.raises(TlsError):
        read(change + hello("b.example"))


def test_first_bytes_tell_tls_from_the_rest() -> None:
    assert [may_be_tls(head) for head in (b"\x16", b"\x16\x03", b"\x16\x02", b"G", b"SSH-2.0")] == [
        None, True, False, False, False,
    ]  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes_end_in_a_hello_an_error_or_a_wait(stream: bytes, step: int) -> None:
    try:
        found = read(stream, step)
    except TlsError:
        return
    assert found is None or found.name == "" or found.name.encode() in stream.lower()


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_a_changed_hello_never_names_what_it_does_not_hold(data: st.DataObject) -> None:
    """No false allow: a name is only read where a server would read it."""
    stream = bytearray(openssl_hello("evil.example"))
    for _ in range(data.draw(st.integers(1, 8))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read(bytes(stream), data.draw(st.integers(1, 600)))
    except TlsError:
        return
    assert found is None or found.name != "pypi.example"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(1, 40))
def test_pieces_change_nothing(tail: bytes, step: int) -> None:
    stream = hello("a.example")[: 30 + len(tail) % 40] + tail

    def outcome(size: int) -> object:
        try:
            return read(stream, size)
        except TlsError as error:
            return str(error)

    assert outcome(step) == outcome(1 << 20) or outcome(1) == outcome(step)
