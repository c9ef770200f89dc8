"""Two connected sockets and what passes between them, both ways, until both are done or one is gone."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from hivebox.loop import ERROR, GONE, HUNG_UP, READ, WRITE, Loop
from hivebox.network.events import CONNECT, reason_of
from hivebox.network.inspect import InspectionError, Inspector
from hivebox.network.relay import Budget, Flow, Pipes, wanted

if TYPE_CHECKING:
    from typing import Protocol

    class Owner(Protocol):
        """Who is told. ``end`` with a reason, or "" when both sides are done; ``refuse`` for what must not pass."""

        def end(self, reason: str) -> None: ...
        def refuse(self, layer: str, reason: str) -> None: ...
        def client_left(self) -> None: ...


class Duplex:
    """The client's socket is watched already, by the owner, which calls ``on_client``; both belong to the owner. Its
    ``close`` closes neither."""

    def __init__(
        self,
        loop: Loop,
        pipes: Pipes,
        budget: Budget,
        ends: tuple[socket.socket, socket.socket],
        inspector: Inspector | None,
        owner: Owner,
    ) -> None:
        self._loop, self._budget, self._owner = loop, budget, owner
        self._client, self._server = ends
        self._inspector = inspector
        self._closed = False
        self.sending = Flow(loop, pipes, budget, (self._client, self._server), self._update)
        self.receiving = Flow(loop, pipes, budget, (self._server, self._client), self._update)

    def start(self, first: bytes) -> None:
        """``first`` is what the client may say, of what it has said already."""
        for end in (self._client, self._server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop.watch(self._server.fileno(), 0, self._on_server)
        self._follow_inspector()
        self._guard(lambda: self._begin(first))
        self._update()

    def _begin(self, first: bytes) -> None:
        self.sending.put(first)
        self.sending.move()  # most clients have spoken while the server was being reached

    def on_client(self, events: int) -> None:
        """From the owner's watch."""
        self._guard(lambda: _run(self.sending, self.receiving, events))
        self._hung_up(self._client, events)
        self._update()

    def _on_server(self, events: int) -> None:
        self._guard(lambda: _run(self.receiving, self.sending, events))
        self._hung_up(self._server, events)
        self._update()

    def close(self) -> None:
        """Nothing passes any more."""
        self._closed = True
        self.sending.close()
        self.receiving.close()

    def _hung_up(self, end: socket.socket, events: int) -> None:
        """Both directions of a socket are closed, and it would be ready for ever: what is still on its way to the
        other side does not need it."""
        if events & GONE == HUNG_UP and not self._closed and self.sending.ended and self.receiving.ended:
            self._loop.forget(end.fileno())

    def _guard(self, act: Callable[[], None]) -> None:
        """A side that is gone ends the connection; it is no failure of ours."""
        if self._closed:
            return
        try:
            act()
        except BlockingIOError:
            return
        except InspectionError as error:
            self._owner.refuse(self._inspector.layer if self._inspector else CONNECT, str(error))
        except OSError as error:
            self._owner.end(reason_of(error))

    def _look(self, data: bytes) -> bytes:
        """What of the client's words may pass."""
        passed = self._inspector.from_client(data) if self._inspector else data
        self._follow_inspector()
        return passed

    def _listen(self, data: bytes) -> bytes:
        """The server's words pass, and let the client's go on, or not."""
        released = self._inspector.from_server(data) if self._inspector else b""
        self._follow_inspector()
        self.sending.put(released)
        return data

    def _follow_inspector(self) -> None:
        """After each of its decisions, before another byte is read."""
        inspector = self._inspector
        if inspector:
            self.sending.look = self._look if inspector.looks else None
            self.receiving.look = self._listen if inspector.listens else None
            self.sending.held = inspector.awaits

    def _update(self) -> None:
        """Wait for what can be done next, or end."""
        if self._closed:
            return
        sending, receiving = self.sending, self.receiving
        if sending.exhausted or receiving.exhausted:
            self._owner.refuse(CONNECT, f"max_bytes of {self._budget.most} reached")
        elif sending.done and receiving.done:
            self._owner.end("")
        else:
            if sending.done:
                self._owner.client_left()
            self._loop.change(self._client.fileno(), wanted(sending, receiving))
            self._loop.change(self._server.fileno(), wanted(receiving, sending))


def _run(reader: Flow, writer: Flow, events: int) -> None:
    """For a socket that is the source of one and the sink of the other."""
    if writer.writes and events & (WRITE | GONE):
        writer.drain()
    if reader.reads and events & (READ | GONE):
        reader.move()
    if events & ERROR and not reader.reads:
        raise OSError(errno.ECONNRESET, "")
