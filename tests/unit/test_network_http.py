"""Whom an HTTP request is for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivebox.network.http import HeadReader, HttpError, Request, connect_target


def read(stream: bytes, step: int = 1 << 20) -> Request | None:
    reader = HeadReader()
    for at in range(0, len(stream), step):
        found = reader.feed(stream[at : at + step])
        if found:
            return found
    return None


@pytest.mark.parametrize("step", [1, 2, 3, 1 << 20])
@pytest.mark.parametrize(
    ("head", "names"),
    [
        (b"GET / HTTP/1.1\r\nHost: Pypi.Example\r\n\r\n", {"pypi.example"}),
        (b"GET / HTTP/1.1\r\nhost:pypi.example:80\r\nX: \xe9\r\n\r\nbody", {"pypi.example"}),
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
    ],
)
def test_what_two_servers_could_read_in_two_ways_is_refused(head: bytes, why: str) -> None:
    with pytest.raises(HttpError, match=why):
        read(head)


def test_a_client_of_a_proxy_says_where_it_wants_to_go() -> None:
    assert connect_target(b"CONNECT evil.example:443 HTTP/1.1\r\n") == "evil.example:443"
    assert connect_target(b"CONNECTED") == ""


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300), st.integers(1, 40))
def test_any_bytes_end_in_a_request_an_error_or_a_wait(tail: bytes, step: int) -> None:
    stream = b"GET / HTTP/1.1\r\nHost: evil.example\r\n" + tail + b"\r\n\r\n"
    try:
        found = read(stream, step)
    except HttpError:
        return
    assert found is not None and found.names == {"evil.example"}
