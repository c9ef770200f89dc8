"""The relay of one run: what the sandbox's sockets say, by the rules, to the outside."""

from __future__ import annotations

import ipaddress
import resource
import socket
from collections.abc import Callable
from typing import Any

from hivebox.frozen import Frozen
from hivebox.loop import READ, Loop
from hivebox.network.addresses import Address
from hivebox.network.callers import Callers
from hivebox.network.configuration import Configuration
from hivebox.network.connect import is_own
from hivebox.network.connection import RESET, Connection
from hivebox.network.datagrams import Listener
from hivebox.network.events import CONNECT, Events
from hivebox.network.relay import Budget, Pipes
from hivebox.network.resolve import Resolver
from hivebox.network.responder import Responder
from hivebox.network.rules import Rules
from hivebox.network.target import Target
from hivebox.network.watcher import Watcher, refusal
from hivebox.policy.model import Allow

MOST_CONNECTIONS = 1024
_FDS_EACH, _FDS_ELSE = 6, 800  # two sockets and two pipes; listeners, lookups, datagrams
_BATCH = 32
_LOOPBACK = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))

Found = Callable[[tuple[Address, ...], str, str], None]


class Bound(Frozen):
    """A socket that init opened in the sandbox: ``kind`` is ``dns``, ``listen``, ``watch`` or ``diag``."""

    kind: str
    protocol: str
    port: int
    handle: int


class Broker:
    """Serves until the control socket ends; ``finish`` then says what happened."""

    def __init__(
        self, run_id: str, allow: tuple[Allow, ...], configuration: Configuration, ask: Callable[[int], None]
    ) -> None:
        self.loop = Loop()
        self.pipes = Pipes()
        self.events = Events(run_id)
        self.callers = Callers(self.loop, ask)
        self.rules = Rules(allow)
        self.datagram_flows = 0
        self._resolver = Resolver(self.loop, configuration)
        self._budgets = {rule: Budget(self.loop, rule) for rule in allow}
        self._connections: set[Connection] = set()
        self.leaving: dict[Connection, None] = {}  # their client has said all; in the order in which it did
        self._datagrams: list[Listener] = []
        self._watchers: list[Watcher] = []
        self._sockets: list[socket.socket] = []
        self._most = MOST_CONNECTIONS
        self._responder: Responder | None = None

    def serve(self, bound: list[Bound]) -> None:
        """Take over the sandbox's sockets."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most = max(min(MOST_CONNECTIONS, (limit - _FDS_ELSE) // _FDS_EACH), 8)
        sockets = [(each, socket.socket(fileno=each.handle)) for each in bound]
        ipv6 = any(held.family == socket.AF_INET6 for _, held in sockets)
        self._responder = Responder(self.loop, self.rules, self.events, self.callers, ipv6=ipv6)
        tcp_ports = frozenset(each.port for each in bound if each.kind == "listen" and each.protocol == "tcp")
        for each, held in sockets:
            held.setblocking(False)
            self._sockets.append(held)
            if each.kind == "diag":
                self.callers.diag = held
            elif each.kind == "dns":
                self._responder.serve(held, each.protocol)
            elif each.kind == "watch":
                self._watchers.append(Watcher(self.loop, held, tcp_ports, self._responder.names, self.events))
            elif each.protocol == "udp":
                self._datagrams.append(Listener(self, held, each.port))
            else:
                self._listen(held, each.port)

    def finish(self) -> dict[str, Any]:
        """End everything; the summary."""
        for connection in list(self._connections):
            connection.close(reset=True, reason="the run ended")
        for listener in self._datagrams:
            listener.close()
        for watcher in self._watchers:
            watcher.finish()
        return self.events.summary()

    # -- accepting -----------------------------------------------------------------------------------------------------

    def _listen(self, listener: socket.socket, port: int) -> None:
        self.loop.watch(listener.fileno(), READ, lambda _: self._on_accept(listener, port))

    def _on_accept(self, listener: socket.socket, port: int) -> None:
        for _ in range(_BATCH):
            try:
                client, peer = listener.accept()
            except OSError:
                return  # nobody, or no descriptor: then the others' end frees one
            client.setblocking(False)
            place = client.getsockname()
            caller = self.callers.find("tcp", peer, place)
            target = self.target(ipaddress.ip_address(place[0]).packed, port, "tcp", caller)
            why = self._crowded(target) if target else ""
            if target and why:
                self.events.refuse(target.attempt(CONNECT), why)
            if target is None or why:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                client.close()
            else:
                Connection.open(self, client, target)

    def _crowded(self, target: Target) -> str:
        most = target.rule.max_connections
        if most and self.budget(target.rule).connections >= most:
            return f"max_connections of {most} reached"
        if len(self._connections) < self._most:
            return ""
        if not self.leaving:
            return f"more than {self._most} connections at once"
        next(iter(self.leaving)).close(reset=True, reason="its client had left, and room was needed")
        return ""

    # -- what connections ask ------------------------------------------------------------------------------------------

    def target(self, destination: bytes, port: int, protocol: str, caller: int) -> Target | None:
        """What was meant by an address of the sandbox, with its rule; None, and an event, where no rule allows it."""
        address = ipaddress.ip_address(destination)
        name = self._responder.names.name_of(address) if self._responder else ""
        rules = self.rules
        rule = rules.by_name(name, port, protocol) if name else rules.by_address(address, port, protocol)
        if rule:
            return Target(name, None if name else address, port, rule, caller)
        if self._responder:
            self.events.refuse(*refusal(self._responder.names, address, port, protocol, caller))
        return None

    def destinations(self, target: Target, protocol: str, found: Found) -> None:
        """Calls ``found`` with the addresses that may be connected to; or with none, and why they were refused, or
        why there are none. What is looked at here is what is connected to: a name is not asked for twice."""
        if target.rule.host_loopback:
            found(_LOOPBACK, "", "")
        elif target.address:
            own = is_own(target.address) and not self.rules.exactly(target.address, target.port, protocol)
            found(() if own else (target.address,), "an address of this host" if own else "", "")
        else:
            self._resolver.resolve(target.name, lambda *result: self._vet(target, protocol, found, *result))

    def _vet(self, target: Target, protocol: str, found: Found, addresses: tuple[Address, ...], why: str) -> None:
        refused = ""
        vetted = []
        for address in addresses:
            reason = self.rules.refusal(address, target.port, protocol)
            if not reason and is_own(address) and not self.rules.exactly(address, target.port, protocol):
                reason = f"leads to {address}: an address of this host"
            if reason:
                refused = reason
            else:
                vetted.append(address)
        found(tuple(vetted), refused, why)

    def budget(self, rule: Allow) -> Budget:
        """What is left of a rule's limits."""
        return self._budgets[rule]

    @property
    def crowd(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    def opened(self, connection: Connection) -> None:
        self._connections.add(connection)

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self.leaving.pop(connection, None)
