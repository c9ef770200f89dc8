"""What happened on the network of one run, in one schema, bounded: what comes after the bound is counted, not kept."""

from __future__ import annotations

import errno
import os
import time
from typing import Any

from hivebox.frozen import Frozen

MOST_REFUSALS, MOST_CONNECTIONS = 200, 200
DNS, CONNECT, SNI, HOST = "dns", "connect", "sni", "host"
_LONGEST_NAME, _MOST_CALLERS = 300, 10_000


class Event(Frozen):
    """``pid`` is the process as the host sees it, None where it could not be found. ``layer`` is where it was decided:
    ``dns``, ``connect``, ``sni`` or ``host``. ``address`` is what was connected to, or would have been; ``rule`` as
    --allow-net spells it, "" where none applied. ``times`` counts repeats of one refusal, the first of which is at
    ``time`` (seconds since the epoch)."""

    time: float
    run_id: str
    pid: int | None
    layer: str
    name: str
    address: str
    port: int
    protocol: str
    verdict: str
    rule: str = ""
    bytes_sent: int = 0
    bytes_received: int = 0
    reason: str = ""
    times: int = 1


class Attempt(Frozen):
    """What a client tried: what an event says of it, whatever the verdict. ``caller`` is the inode of its socket, or 0,
    until the process is known."""

    layer: str
    name: str
    address: str
    port: int
    protocol: str
    rule: str = ""
    caller: int = 0


class Events:
    """Refusals that differ in nothing but time are one event; so are failures of what was allowed."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._pids: dict[int, int] = {}
        self._repeated: dict[tuple[Any, ...], Event] = {}
        self._connections: list[Event] = []
        self._totals = {"connections": 0, "failed": 0, "refused": 0, "bytes_sent": 0, "bytes_received": 0}
        self._dropped = {"connections": 0, "refused": 0, "unseen": 0}

    def refuse(self, attempt: Attempt, reason: str) -> None:
        """Something was tried and did not happen."""
        self._totals["refused"] += 1
        self._repeat(attempt, "refused", reason)

    def failed(self, attempt: Attempt, reason: str) -> None:
        """Something was allowed and did not come about."""
        self._totals["failed"] += 1
        self._repeat(attempt, "failed", reason)

    def _repeat(self, attempt: Attempt, verdict: str, reason: str) -> None:
        attempt = attempt._replace(name=attempt.name[:_LONGEST_NAME])
        key = (*attempt[:-1], verdict, reason)
        known = self._repeated.get(key)
        if known:
            self._repeated[key] = known._replace(times=known.times + 1)
        elif len(self._repeated) < MOST_REFUSALS:
            self._repeated[key] = self._event(attempt, verdict, reason)
        else:
            self._dropped["refused"] += 1

    def connected(self, attempt: Attempt, sent: int, received: int, reason: str) -> None:
        """A connection, or an exchange of datagrams, that was allowed has ended."""
        self._totals["connections"] += 1
        self._totals["bytes_sent"] += sent
        self._totals["bytes_received"] += received
        if len(self._connections) < MOST_CONNECTIONS:
            event = self._event(attempt, "allowed", reason)
            self._connections.append(event._replace(bytes_sent=sent, bytes_received=received))
        else:
            self._dropped["connections"] += 1

    def unseen(self, count: int) -> None:
        """Attempts that came faster than they could be read."""
        self._dropped["unseen"] += count

    def _event(self, attempt: Attempt, verdict: str, reason: str) -> Event:
        caller = attempt.caller or None  # a pid in the end (_plain)
        when = round(time.time(), 6)
        return Event(when, self._run_id, caller, *attempt[:5], verdict, rule=attempt.rule, reason=reason)

    def learn(self, caller: int, pid: int) -> None:
        """Whose socket it was."""
        if len(self._pids) < _MOST_CALLERS:
            self._pids[caller] = pid

    def _plain(self, event: Event) -> dict[str, Any]:
        return event._replace(pid=self._pids.get(event.pid or 0))._asdict()

    def summary(self) -> dict[str, Any]:
        """JSON-ready."""
        repeated = [self._plain(event) for event in self._repeated.values()]
        return {
            "totals": dict(self._totals),
            "dropped": dict(self._dropped),
            "connections": [self._plain(event) for event in self._connections],
            "refused": [event for event in repeated if event["verdict"] == "refused"],
            "failed": [event for event in repeated if event["verdict"] == "failed"],
        }


def reason_of(error: OSError) -> str:
    """For an event."""
    number = error.errno or 0
    return f"{os.strerror(number).lower()} ({errno.errorcode.get(number, '')})"
