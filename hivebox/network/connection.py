"""One TCP connection of the payload: accepted, looked at, resolved, connected, relayed, accounted for."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from hivebox.frozen import Frozen
from hivebox.network import tls
from hivebox.network.addresses import Address
from hivebox.network.connect import Connecting
from hivebox.network.events import CONNECT, Attempt
from hivebox.network.inspect import InspectionError, Inspector
from hivebox.network.loop import ERROR, GONE, HUNG_UP, READ, WRITE, Timer
from hivebox.network.relay import Flow, wanted
from hivebox.policy import hosts
from hivebox.policy.model import Allow

if TYPE_CHECKING:
    from hivebox.network.broker import Broker

_HELLO_WITHIN_S = 10.0
RESET = struct.pack("=ii", 1, 0)  # SO_LINGER: on close, RST


class Target(Frozen):
    """What a connection was made to: a name, or for a rule about addresses ("" then) the address itself."""

    name: str
    address: Address | None
    port: int
    rule: Allow

    def attempt(self, layer: str, address: str = "") -> Attempt:
        shown = address or (str(self.address) if self.address else "")
        return Attempt(layer, self.name, shown, self.port, "tcp", self.rule.text())


class Connection:
    """Ends itself, and tells the broker."""

    def __init__(self, broker: Broker, client: socket.socket, target: Target) -> None:
        self._broker, self._client, self._target = broker, client, target
        self._loop = broker.loop
        self._budget = broker.budget(target.rule)
        self._server: socket.socket | None = None
        self._connecting: Connecting | None = None
        self._address = ""
        self._sending: Flow | None = None
        self._receiving: Flow | None = None
        self._server_head = b""
        self._rest = b""
        kind = hosts.inspection(target.rule, target.port)
        self._inspector = None if kind == hosts.NOTHING else Inspector(target.name, kind)
        self._verified = False
        self._note = ""
        self._timer: Timer | None = None
        self._closed = False
        self._kind = kind

    @classmethod
    def open(cls, broker: Broker, client: socket.socket, target: Target) -> None:
        """Start; from here on it belongs to the broker."""
        connection = cls(broker, client, target)
        broker.opened(connection)
        connection._start()

    def _start(self) -> None:
        client, kind = self._client, self._kind
        self._budget.connections += 1
        if kind in {hosts.TLS, hosts.HEAD}:  # nothing leaves this host before the name is known
            self._timer = self._loop.after(_HELLO_WITHIN_S, self._too_slow)
            self._loop.watch(client.fileno(), READ, self._on_first_bytes)
        else:
            self._loop.watch(client.fileno(), 0, self._on_client)
            self._resolve()

    # -- looking -------------------------------------------------------------------------------------------------------

    def _on_first_bytes(self, _events: int) -> None:
        """Before there is a server."""
        decided = self._look()
        if decided and not self._closed:
            self._loop.forget(self._client.fileno())
            self._loop.watch(self._client.fileno(), 0, self._on_client)
            self._resolve()

    def _look(self) -> bool:
        """Read what the client says until it is decided; True then."""
        inspector = self._inspector
        if inspector is None:
            return True
        try:
            data = self._client.recv(1 << 14)
        except BlockingIOError:
            return False
        except OSError as error:
            self._end(reason_of(error))
            return False
        if not data and inspector.kind == hosts.WATCH:
            return True
        return self._take(inspector, data)

    def _take(self, inspector: Inspector, data: bytes) -> bool:
        try:
            if not data:
                raise InspectionError("the client ends before it says for whom it is")
            if not inspector.feed(data):
                return False
        except InspectionError as error:
            self._refuse(inspector.layer, str(error))
            return False
        self._verified = self._verified or inspector.verified
        self._note = inspector.note
        return True

    def _too_slow(self) -> None:
        if self._inspector:
            self._refuse(self._inspector.layer, f"no name within {_HELLO_WITHIN_S:g} seconds")

    # -- reaching ------------------------------------------------------------------------------------------------------

    def _resolve(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._broker.destinations(self._target, "tcp", self._on_destinations)

    def _on_destinations(self, addresses: tuple[Address, ...], refused: str, why: str) -> None:
        if self._closed:
            return
        if not addresses:
            self._refuse(CONNECT, refused) if refused else self._end(why)
            return
        self._connecting = Connecting(self._loop, addresses, self._target.port, self._on_connected)

    def _on_connected(self, server: socket.socket | None, address: str, why: str) -> None:
        self._connecting = None
        if server is None:
            self._end(why)
            return
        self._server, self._address = server, address
        for end in (self._client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        broker = self._broker
        self._sending = Flow(self._loop, broker.pipes, self._budget, (self._client, server), self._update)
        self._receiving = Flow(self._loop, broker.pipes, self._budget, (server, self._client), self._update)
        self._loop.watch(server.fileno(), 0, self._on_server)
        inspector = self._inspector
        if inspector and inspector.kind == hosts.WATCH and not inspector.data:
            self._sending.held = True
        else:
            self._guard(self._pass_inspected)
        self._update()

    def _pass_inspected(self) -> None:
        """What was looked at goes on its way. What comes after a ClientHello waits for the server's first words: a
        server may ask for another one (HelloRetryRequest), and that must name the same host."""
        inspector, self._inspector = self._inspector, None
        if inspector is None or not self._sending or not self._receiving:
            return
        if inspector.kind == hosts.TLS and not self._server_head:
            self._sending.held = self._receiving.held = True
            self._rest = inspector.rest()
            self._sending.put(inspector.data.removesuffix(self._rest))
        else:
            self._sending.held = False
            self._sending.put(inspector.data)

    # -- relaying ------------------------------------------------------------------------------------------------------

    def _on_client(self, events: int) -> None:
        if not self._sending or not self._receiving:
            if events & GONE:
                self._end("the client is gone")
            return
        if self._inspector and events & READ:
            if not self._look() or self._closed:
                return
            self._guard(self._pass_inspected)
        else:
            self._guard(lambda: self._run(self._sending, self._receiving, events))
        self._hung_up(self._client, events)
        self._update()

    def _on_server(self, events: int) -> None:
        if self._receiving and self._receiving.held:
            self._guard(self._read_server_head)
        else:
            self._guard(lambda: self._run(self._receiving, self._sending, events))
        self._hung_up(self._server, events)
        self._update()

    def _hung_up(self, end: socket.socket | None, events: int) -> None:
        """Both directions of a socket are closed, and it would be ready for ever: what is still on its way to the
        other side does not need it."""
        flows = (self._sending, self._receiving)
        if events & GONE == HUNG_UP and end and not self._closed and all(flow and flow.ended for flow in flows):
            self._loop.forget(end.fileno())

    def _run(self, reader: Flow | None, writer: Flow | None, events: int) -> None:
        if writer and writer.writes and events & (WRITE | GONE):
            writer.drain()
        if reader and reader.reads and events & (READ | GONE):
            reader.move()
        if events & ERROR and not (reader and reader.reads):
            raise OSError(errno.ECONNRESET, "")

    def _read_server_head(self) -> None:
        """The first record, up to where it says whether it is a retry."""
        if not self._server or not self._receiving or not self._sending:
            return
        data = self._server.recv(tls.RETRY_SIZE - len(self._server_head))
        self._server_head += data
        head = self._server_head
        if data and len(head) < tls.RETRY_SIZE and head[:1] == b"\x16":
            return
        self._receiving.held = self._sending.held = False
        self._receiving.put(head)
        if not data:
            self._receiving.end()
        rest, self._rest = self._rest, b""
        if not tls.asks_for_retry(head):
            self._sending.put(rest)
            return
        self._inspector = Inspector(self._target.name, hosts.TLS, second=True)
        self._sending.held = True
        if rest and self._take(self._inspector, rest):
            self._pass_inspected()

    def _guard(self, act: Callable[[], None]) -> None:
        """A side that is gone ends the connection; it is no failure of ours."""
        if self._closed:
            return
        try:
            act()
        except BlockingIOError:
            return
        except OSError as error:
            self._end(reason_of(error))

    def _update(self) -> None:
        """Wait for what can be done next, or end."""
        sending, receiving, server = self._sending, self._receiving, self._server
        if self._closed or not sending or not receiving or not server:
            return
        if sending.exhausted or receiving.exhausted:
            self._refuse(CONNECT, f"max_bytes of {self._target.rule.max_bytes} reached")
        elif sending.done and receiving.done:
            self._end("")
        else:
            if sending.done and not receiving.done:
                self._broker.leaving[self] = None
            looks = READ if self._inspector else 0
            head = READ if receiving.held else 0
            self._loop.change(self._client.fileno(), wanted(sending, receiving) | looks)
            self._loop.change(server.fileno(), wanted(receiving, sending) | head)

    # -- ending --------------------------------------------------------------------------------------------------------

    def _refuse(self, layer: str, reason: str) -> None:
        self._broker.events.refuse(self._target.attempt(layer, self._address), reason)
        self.close(reset=True)

    def _end(self, reason: str) -> None:
        """``reason`` "" is both sides' own end; anything else is passed on as a reset."""
        self.close(reset=bool(reason), reason=reason)

    def close(self, *, reset: bool, reason: str = "") -> None:
        """Also from the broker, at the end of the run."""
        if self._closed:
            return
        self._closed = True
        if self._timer:
            self._timer.cancel()
        if self._connecting:
            self._connecting.cancel()
        self._account(reason)
        for flow in (self._sending, self._receiving):
            if flow:
                flow.close()
        for end in (self._client, self._server):
            if end:
                self._loop.forget(end.fileno())
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.close()
        self._budget.connections -= 1
        self._broker.closed(self)

    def _account(self, reason: str) -> None:
        notes = [reason, self._note, "" if self._verified or self._target.rule.cidr else "host name not verified"]
        attempt = self._target.attempt(CONNECT, self._address)
        if self._sending and self._receiving:
            text = "; ".join(note for note in notes if note)
            self._broker.events.connected(attempt, self._sending.total, self._receiving.total, text)
        elif reason:
            self._broker.events.failed(attempt, reason)


def reason_of(error: OSError) -> str:
    """For an event."""
    return f"{os.strerror(error.errno or 0).lower()} ({errno.errorcode.get(error.errno or 0, '')})"
