"""What a client sends on one HTTP/1 connection, request after request. Pure.

A server must not see a request where this saw a body: what does not say plainly where it ends is refused, and so are
chunk extensions and fields after a body, in which servers have been found to differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from hivebox.network.http import CHUNKED, LINE_END, HttpError, Request, parse_head

_MOST_HEAD = 1 << 16
_END = b"\r\n\r\n"
_CHUNK_SIZE, _LONGEST_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}"), 18


class RequestReader:
    """A client's side of one connection, request after request. ``approve`` gets the head of each and raises for one
    that must not pass. After a request for an ``upgrade``, and its body, nothing more passes until ``stay`` says that
    the server did not switch."""

    def __init__(self, approve: Callable[[Request], None]) -> None:
        self._approve = approve
        self._data = bytearray()
        self._seen = 0
        self._step: Callable[[], int] = self._head
        self._body = 0
        self._chunked = False
        self._requests = 0
        self.upgrade = ""

    @property
    def waits(self) -> bool:
        """Whether all there is to say before an upgrade has passed."""
        return bool(self.upgrade) and self._step == self._head

    def feed(self, data: bytes) -> bytes:
        """What may pass now: whole heads that were approved, and their bodies as they come. Raises HttpError."""
        self._data += data
        passed = bytearray()
        while self._data:
            size = self._step()
            if not size:
                break
            passed += self._data[:size]
            del self._data[:size]
        return bytes(passed)

    def stay(self) -> bytes:
        """Go on with HTTP/1; what may pass of what came meanwhile. Raises HttpError."""
        self.upgrade = ""
        return self.feed(b"")

    def rest(self) -> bytes:
        """What has not passed."""
        return bytes(self._data)

    # -- each looks at the start of the data and says how much of it may pass; 0 is nothing yet ------------------------

    def _head(self) -> int:
        if self.upgrade:
            return 0
        end = self._data.find(_END, max(self._seen - len(_END), 0))
        self._seen = len(self._data)
        if end > _MOST_HEAD or (end < 0 and len(self._data) > _MOST_HEAD):
            raise HttpError("a request head of more than 64 KiB")
        if not self._data[:1].isupper():
            raise HttpError("not HTTP" if not self._requests else "something that is no request follows a request")
        if end < 0:
            return 0
        request = parse_head(bytes(self._data[:end]))
        self._approve(request)
        if request.upgrade and self._requests:
            raise HttpError(f"an upgrade to {request.upgrade} after the first request")
        self._begin_body(request)
        return end + len(_END)

    def _begin_body(self, request: Request) -> None:
        self._requests += 1
        self._seen = 0
        self.upgrade = request.upgrade
        self._chunked = request.length == CHUNKED
        self._body = 0 if self._chunked else request.length
        self._step = self._chunk_size if self._chunked else self._content if self._body else self._head

    def _content(self) -> int:
        size = min(self._body, len(self._data))
        self._body -= size
        if not self._body:
            self._step = self._chunk_end if self._chunked else self._head
        return size

    def _chunk_size(self) -> int:
        end = self._data.find(LINE_END, 0, _LONGEST_SIZE)
        if end < 0 and len(self._data) < _LONGEST_SIZE:
            return 0
        matched = _CHUNK_SIZE.fullmatch(self._data[: max(end, 0)])
        if not matched:
            raise HttpError("a chunk without a plain size")
        self._body = int(matched[0], 16)
        self._step = self._content if self._body else self._last_end
        return end + len(LINE_END)

    def _chunk_end(self) -> int:
        return self._line_end(self._chunk_size, "a chunk of another size than it says")

    def _last_end(self) -> int:
        return self._line_end(self._head, "fields after the body")

    def _line_end(self, then: Callable[[], int], why: str) -> int:
        if not LINE_END.startswith(self._data[:2]):
            raise HttpError(why)
        if len(self._data) < len(LINE_END):
            return 0
        self._step = then
        return len(LINE_END)
