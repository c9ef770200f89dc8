"""One TCP connection of the payload: accepted, looked at, resolved, connected, relayed, accounted for."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from hivebox.loop import GONE, READ, Timer
from hivebox.network.addresses import Address
from hivebox.network.connect import Connecting
from hivebox.network.duplex import Duplex
from hivebox.network.events import CONNECT, reason_of
from hivebox.network.inspect import InspectionError, inspector
from hivebox.network.target import Target
from hivebox.policy import hosts

if TYPE_CHECKING:
    from hivebox.network.broker import Broker

_HELLO_WITHIN_S = 10.0
# The kernel lets the buffers of a socket grow to megabytes, and none of it is the script's memory: of many connections
# only the first have such buffers.
_MOST_TUNED, _SMALL_BUFFER = 16, 1 << 16
RESET = struct.pack("=ii", 1, 0)  # SO_LINGER: on close, RST


class Connection:
    """Ends itself, and tells the broker."""

    def __init__(self, broker: Broker, client: socket.socket, target: Target) -> None:
        self._broker, self._client, self._target = broker, client, target
        self._loop = broker.loop
        self._budget = broker.budget(target.rule)
        self._inspector = inspector(target.name, hosts.inspection(target.rule, target.port))
        self._first = b""
        self._server: socket.socket | None = None
        self._connecting: Connecting | None = None
        self._duplex: Duplex | None = None
        self._address = ""
        self._timer: Timer | None = None
        self._closed = False

    @classmethod
    def open(cls, broker: Broker, client: socket.socket, target: Target) -> None:
        """Start; from here on it belongs to the broker."""
        connection = cls(broker, client, target)
        broker.opened(connection)
        connection._start()

    def _start(self) -> None:
        self._budget.connections += 1
        if self._inspector and not self._inspector.decided:  # nothing leaves this host before the name is known
            self._timer = self._loop.after(_HELLO_WITHIN_S, self._too_slow)
            self._loop.watch(self._client.fileno(), READ, self._on_client)
        else:
            self._loop.watch(self._client.fileno(), 0, self._on_client)
            self._resolve()

    def _on_client(self, events: int) -> None:
        if self._duplex:
            self._duplex.on_client(events)
        elif self._inspector and not self._inspector.decided:
            self._look()
        elif events & GONE:
            self.end("the client is gone")

    def _look(self) -> None:
        """Before there is a server: read what the client says until it is decided."""
        if not self._inspector:
            return
        try:
            self._first += self._inspector.from_client(self._client.recv(1 << 14))
        except BlockingIOError:
            return
        except InspectionError as error:
            self.refuse(self._inspector.layer, str(error))
        except OSError as error:
            self.end(reason_of(error))
        if self._inspector.decided and not self._closed:
            self._loop.change(self._client.fileno(), 0)
            self._resolve()

    def _too_slow(self) -> None:
        if self._inspector:
            self.refuse(self._inspector.layer, f"no name within {_HELLO_WITHIN_S:g} seconds")

    # -- reaching ------------------------------------------------------------------------------------------------------

    def _resolve(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._broker.destinations(self._target, "tcp", self._on_destinations)

    def _on_destinations(self, addresses: tuple[Address, ...], refused: str, why: str) -> None:
        if self._closed:
            return
        if not addresses:
            self.refuse(CONNECT, refused) if refused else self.end(why)
            return
        self._connecting = Connecting(self._loop, addresses, self._target.port, self._on_connected)

    def _on_connected(self, server: socket.socket | None, address: str, why: str) -> None:
        self._connecting = None
        if server is None:
            self.end(why)
            return
        self._server, self._address = server, address
        if self._broker.crowd > _MOST_TUNED:
            _shrink(self._client, server)
        ends = (self._client, server)
        self._duplex = Duplex(self._loop, self._broker.pipes, self._budget, ends, self._inspector, self)
        first, self._first = self._first, b""
        self._duplex.start(first)

    # -- ending --------------------------------------------------------------------------------------------------------

    def client_left(self) -> None:
        """It has said all; the server has not."""
        self._broker.leaving[self] = None

    def refuse(self, layer: str, reason: str) -> None:
        """An event, and a reset."""
        self._broker.events.refuse(self._target.attempt(layer, self._address), reason)
        self.close(reset=True)

    def end(self, reason: str) -> None:
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
        if self._duplex:
            self._duplex.close()
        for end in (self._client, self._server):
            if end:
                self._loop.forget(end.fileno())
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.close()
        self._budget.connections -= 1
        self._broker.closed(self)

    def _account(self, reason: str) -> None:
        attempt = self._target.attempt(CONNECT, self._address)
        if not self._duplex:
            if reason:
                self._broker.events.failed(attempt, reason)
            return
        looked = self._inspector
        unverified = "host name not verified" if self._target.name and not (looked and looked.verified) else ""
        notes = (reason, looked.note if looked else "", unverified)
        sent, received = self._duplex.sending.total, self._duplex.receiving.total
        self._broker.events.connected(attempt, sent, received, "; ".join(filter(None, notes)))


def _shrink(*ends: socket.socket) -> None:
    for end in ends:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            end.setsockopt(socket.SOL_SOCKET, option, _SMALL_BUFFER)
