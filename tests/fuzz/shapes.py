"""Messages as a hostile script would make them: whole ones with anything in their fields, and whole ones that were changed.
Each is what the target of the same name in targets.py takes, whose first byte says how the rest is cut."""

from __future__ import annotations

import struct

from hypothesis import strategies as st

from tests.unit.tls_hello import message, records, retry, server_name, vector

_NAMES = st.sampled_from([b"pypi.example", b"PyPI.Example", b"evil.example", b"pypi.example.", b"pypi.example\0", b""])
_NAME = _NAMES | st.binary(max_size=80)
_CUT = st.binary(min_size=1, max_size=1)


@st.composite
def _changed(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """A few bytes of it set, cut out, doubled or added."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.integers(0, 4))
        kind = draw(st.sampled_from(["set", "cut", "double", "add"]))
        if kind in {"set", "add"}:
            data[at : at + (size if kind == "set" else 0)] = draw(st.binary(min_size=size, max_size=size))
        else:
            data[at : at + size] = data[at : at + size] * (2 if kind == "double" else 0)
    return bytes(data)


@st.composite
def _hello(draw: st.DrawFn) -> bytes:
    names = draw(st.lists(_NAME, max_size=2))
    extensions = [(0, server_name(*names, kind=draw(st.sampled_from([0, 0, 0, 1]))))]
    extensions += draw(
        st.lists(st.tuples(st.sampled_from([0, 10, 43, 0xFE0D, 0xFFFF]), st.binary(max_size=20)), max_size=2)
    )
    trailing = draw(st.sampled_from([b"", b"", b"x"]))
    return records(message(*draw(st.permutations(extensions)), trailing=trailing), draw(st.integers(1, 600)))


@st.composite
def _question(draw: st.DrawFn) -> bytes:
    labels = draw(st.lists(st.binary(max_size=63) | st.sampled_from([b"pypi", b"example"]), max_size=6))
    end = draw(st.sampled_from([b"\0", b"\xc0\x0c", b"\xc0\xff", b""]))
    head = struct.pack(">HHHHHH", 7, draw(st.sampled_from([0x100, 0, 0x8100, 0x2800])), 1, 0, 0, 0)
    name = b"".join(vector(1, label) for label in labels) + end
    return head + name + struct.pack(">HH", draw(st.sampled_from([1, 28, 65, 255])), draw(st.sampled_from([1, 3])))


@st.composite
def _answer(draw: st.DrawFn) -> bytes:
    """As targets.answer takes it: counts at 6, records from 12 on."""
    owners = st.sampled_from([b"\xc0\x0c", b"\4evil\7example\0", b"\1b\7example\0", b"\0", b"\xc0\x2a"])
    made = b""
    count = draw(st.integers(0, 5))
    for _ in range(count):
        kind, content = draw(
            st.tuples(st.just(1), st.binary(min_size=4, max_size=4))
            | st.tuples(st.just(5), owners)
            | st.tuples(st.integers(0, 99), st.binary(max_size=20))
        )
        made += draw(owners) + struct.pack(">HHIH", kind, 1, draw(st.integers(0, 1 << 31)), len(content)) + content
    return bytes(6) + struct.pack(">HHH", count, 0, 0) + made


@st.composite
def _requests(draw: st.DrawFn) -> bytes:
    line = st.sampled_from(
        [
            b"GET / HTTP/1.1",
            b"POST / HTTP/1.1",
            b"POST / HTTP/1.0",
            b"CONNECT a:1 HTTP/1.1",
            b"GET http://evil.example/ HTTP/1.1",
        ]
    )
    field = st.sampled_from(
        [b"Host: evil.example", b"Content-Length: 5", b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Transfer-Encoding: x",
         b"Upgrade: websocket", b"Upgrade: h2c", b"Connection: upgrade", b" folded", b"X: y"]
    )  # fmt: skip
    body = st.sampled_from(
        [b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n", b"5;x\r\nhello\r\n", b"ffffffffffffffff\r\n"]
    )
    whole = b""
    for _ in range(draw(st.integers(1, 4))):
        fields = [b"Host: pypi.example", *draw(st.lists(field, max_size=2))]
        whole += b"\r\n".join([draw(line), *fields]) + b"\r\n\r\n" + draw(body)
    return whole


_CONVERSATION = st.one_of(
    st.builds(lambda first, second: b"\0" + first + retry() + second, _hello(), _hello()),
    st.builds(lambda requests: b"\1" + requests, _requests()),
    st.builds(lambda first: b"\2" + first, _hello() | _requests()),
)
SHAPES: dict[str, st.SearchStrategy[bytes]] = {
    "tls": st.builds(bytes.__add__, _CUT, _changed(_hello())),
    "dns": _changed(_question()),
    "dns-answer": _changed(_answer()),
    "http": st.builds(bytes.__add__, _CUT, _changed(_requests())),
    "inspect": st.builds(bytes.__add__, _CUT, _changed(_CONVERSATION)),
}
