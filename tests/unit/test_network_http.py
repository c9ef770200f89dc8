"""Whom an HTTP request is for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivebox.network.http import HttpError, Request, connect_target, switches
from hivebox.network.http_stream import RequestReader
from hivebox.network.inspect import Http, InspectionError


def read_all(stream: bytes, step: int = 1 << 20) -> tuple[list[Request], bytes]:
    """The requests, and what passed."""
    found: list[Request] = []
    reader = RequestReader(found.append)
    passed = b"".join(reader.feed(stream[at : at + step]) for at in range(0, len(stream), step))
    return found, passed


def read(stream: bytes, step: int = 1 << 20) -> Request | None:
    return next(iter(read_all(stream, step)[0]), None)


@pytest.mark.parametrize("step", [1, 2, 3, 1 << 20])
@pytest.mark.parametrize(
    ("head", "names"),
    [
        (b"GET / HTTP/1.1\r\nHost: Pypi.Example\r\n\r\n", {"pypi.example"}),
        (b"GET / HTTP/1.1\r\nhost:pypi.example:80\r\nX: \xe9\r\n\r\n", {"pypi.example"}),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: pypi.example\r\n\r\n", {"pypi.example", "evil.example"}),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: pypi.example\r\n\r\n", {"pypi.example", "evil.example"}),
        (b"OPTIONS * HTTP/1.1\r\nHost: pypi.example\r\n\r\n", {"pypi.example"}),
    ],
)
def test_all_names_of_a_request_are_read(head: bytes, names: set[str], step: int) -> None:
    found = read(head, step)
    assert found is not None and found.names == names


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "no Host"),
        (b"GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n", "more than one"),
        (b"GET / HTTP/1.1\r\nHost: a.example\r\n b.example\r\n\r\n", "malformed"),
        (b"GET / HTTP/1.1\r\nHost : a.example\r\n\r\n", "malformed"),
        (b"GET / HTTP/1.1\r\nHost: a.example\n\r\n\r\n", "malformed"),
        (b"GET / HTTP/1.1\r\nHost: a.example\0\r\n\r\n", "malformed"),
        (b"GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n", "no host name"),
        (b"GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", "no host name"),
        (b"GET / HTTP/1.1\r\nHost: a%2eexample\r\n\r\n", "no host name"),
        (b"GET http://u:p@a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "no host name"),
        (b"GET a.example HTTP/1.1\r\nHost: a.example\r\n\r\n", "unknown form"),
        (b"GET / HTTP/2.0\r\nHost: a.example\r\n\r\n", "not an HTTP/1"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "not an HTTP/1"),
        (b"GET  / HTTP/1.1\r\nHost: a.example\r\n\r\n", "not an HTTP/1"),
        (b"\x16\x03\x01", "not HTTP"),
        (b"G" * (1 << 17), "64 KiB"),
        (
            b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "more than one Content",
        ),
        (b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: +1\r\n\r\n", "no plain number"),
        (b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1, 1\r\n\r\n", "no plain number"),
        (b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0x1\r\n\r\n", "no plain number"),
        (b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: \r\n\r\n", "no plain number"),
        (
            b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "more than one way",
        ),
        (b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "more than one way"),
        (b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: xchunked\r\n\r\n", "more than one way"),
        (b"POST / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n", "more than one way"),
        (
            b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "more than one Transfer",
        ),
        (b"GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n", "more than one Upgrade"),
    ],
)
def test_what_two_servers_could_read_in_two_ways_is_refused(head: bytes, why: str) -> None:
    with pytest.raises(HttpError, match=why):
        read(head)


def test_a_client_of_a_proxy_says_where_it_wants_to_go() -> None:
    assert connect_target(b"CONNECT evil.example:443 HTTP/1.1\r\n") == "evil.example:443"
    assert connect_target(b"CONNECTED") == ""


# -- the second request, and all after it ------------------------------------------------------------------------------


GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
OTHER = b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.example\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1 << 20])
@pytest.mark.parametrize(
    "first",
    [
        GET,
        POST + b"Content-Length: 0\r\n\r\n",
        POST + b"Content-Length: 5\r\n\r\nGET /",
        POST + b"Content-Length: %d\r\n\r\n" % len(OTHER) + OTHER,
        CHUNKED + b"0\r\n\r\n",
        CHUNKED + b"5\r\nGET /\r\nA\r\n0123456789\r\n0\r\n\r\n",
        GET * 20,
    ],
)
def test_every_request_of_a_connection_is_read(first: bytes, step: int) -> None:
    """A body is none, whatever it looks like; what follows it is one."""
    found, passed = read_all(first + OTHER, step)
    assert passed == first + OTHER
    assert [each.names for each in found] == [{"a.example"}] * (len(found) - 1) + [{"evil.example"}]


@pytest.mark.parametrize("step", [1, 1 << 20])
@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"5;a=b\r\n", "plain size"),
        (b" 5\r\n", "plain size"),
        (b"0x5\r\n", "plain size"),
        (b"-1\r\n", "plain size"),
        (b"5\n", "plain size"),
        (b"\r\n", "plain size"),
        (b"f" * 20, "plain size"),
        (b"1\r\nabc", "another size"),
        (b"0\r\nHost: b.example\r\n\r\n", "fields after the body"),
        (b"0\r\n\r\nx", "no request follows"),
    ],
)
def test_bodies_that_could_end_elsewhere_are_refused(body: bytes, why: str, step: int) -> None:
    with pytest.raises(HttpError, match=why):
        read_all(CHUNKED + body + b" " * 20, step)


def test_a_head_passes_only_whole() -> None:
    reader = RequestReader(lambda _: None)
    assert reader.feed(GET[:-1]) == b""
    assert reader.feed(GET[-1:] + b"G") == GET
    assert reader.rest() == b"G"


@pytest.mark.parametrize("step", [1, 1 << 20])
@pytest.mark.parametrize(
    ("protocol", "answer", "passes"),
    [
        ("websocket", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", True),
        ("websocket", b"HTTP/1.1 200 OK\r\n\r\n", False),
        ("websocket", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 \r\n", False),
        ("websocket", b"", False),
        ("h2c", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", False),
        ("h2c, websocket", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", False),
    ],
)
def test_after_an_upgrade(protocol: str, answer: bytes, passes: bool, step: int) -> None:
    """What comes next is nobody's request only when the server says so."""
    looking = Http("a.example")
    asked = GET[:-2] + f"Connection: upgrade\r\nUpgrade: {protocol}\r\n\r\n".encode()
    assert looking.from_client(asked + b"\x81\x85frame") == asked and looking.awaits
    try:
        released = b"".join(
            looking.from_server(answer[at : at + step]) for at in range(0, len(answer), step) if looking.listens
        )
        released += looking.from_server(b"") if looking.listens else b""
    except InspectionError:
        released = b""
    assert (released == b"\x81\x85frame") == passes == (not looking.looks)


def test_an_upgrade_that_is_not_taken_changes_nothing() -> None:
    looking = Http("a.example")
    looking.from_client(GET[:-2] + b"Upgrade: h2c\r\n\r\n" + GET)
    assert looking.from_server(b"HTTP/1.1 200 OK\r\n") == GET and looking.looks
    with pytest.raises(InspectionError, match=r"for evil\.example"):
        looking.from_client(OTHER)


def test_an_upgrade_with_a_body_waits_for_its_end() -> None:
    looking = Http("a.example")
    asked = POST + b"Upgrade: h2c\r\nContent-Length: 4\r\n\r\n"
    assert looking.from_client(asked + b"bo") == asked + b"bo"
    assert looking.listens and not looking.awaits
    assert looking.from_client(b"dy" + GET) == b"dy" and looking.awaits


def test_an_upgrade_later_is_refused() -> None:
    with pytest.raises(HttpError, match="after the first"):
        read_all(GET + GET[:-2] + b"Upgrade: websocket\r\n\r\n")


def test_an_answer_is_told_from_its_first_line() -> None:
    assert [switches(each) for each in (b"HTTP/1.1 10", b"HTTP/1.1 101", b"HTTP/1.1 200", b"x" * 12)] == [
        None, True, False, False,
    ]  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300), st.integers(1, 40))
def test_any_bytes_end_in_a_request_an_error_or_a_wait(tail: bytes, step: int) -> None:
    stream = b"GET / HTTP/1.1\r\nHost: evil.example\r\n" + tail + b"\r\n\r\n"
    try:
        found = read(stream, step)
    except HttpError:
        return
    assert found is not None and found.names == {"evil.example"}


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from([GET, OTHER, POST, CHUNKED, b"0\r\n\r\n", b"5\r\nhello\r\n", b"Content-Length: 5\r\n\r\n",
                                 b"hello", b"\r\n", b"a"]), max_size=8), st.integers(1, 60))  # fmt: skip
def test_pieces_change_nothing_and_no_other_host_passes(parts: list[bytes], step: int) -> None:
    """However it is cut, the same passes; and a server that takes heads by the letter finds no other host there."""
    stream = b"".join(parts)

    def outcome(size: int) -> bytes:
        looking, passed = Http("a.example"), b""
        try:
            for at in range(0, len(stream), size):
                passed += looking.from_client(stream[at : at + size])
        except InspectionError:
            pass
        return passed

    by_bytes = outcome(1)
    assert by_bytes.startswith(outcome(step)) and stream.startswith(by_bytes)
    for names in [request.names for request in read_all(by_bytes)[0]]:
        assert names == {"a.example"}
