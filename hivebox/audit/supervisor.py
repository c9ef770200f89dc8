"""Who wrote a ``started`` record, and whether that process still runs: tells a live run from a dead one."""

from __future__ import annotations

import os

from hivebox.audit.statement import Record, boot_id
from hivebox.frozen import Frozen
from hivebox.kernel.pid import Namespaces, namespaces, start_time


class Watcher(Frozen):
    """Who watches a run. ``starttime_ticks`` and ``time_namespace`` are -1 where a record does not say."""

    boot_id: str
    pid: int
    pid_namespace: int
    starttime_ticks: int
    time_namespace: int


def identify() -> dict[str, int]:
    """This process, for a record's ``supervisor`` field: a pid alone is reused, with its start time it is not, and
    both mean something only in their namespaces."""
    pid, ours = os.getpid(), namespaces()
    return {
        "pid": pid,
        "pid_namespace": ours.pid,
        "starttime_ticks": start_time(pid),
        "time_namespace": ours.time,
    }


def watcher_of(record: Record) -> Watcher | None:
    """What a ``started`` record says; None when that is nothing."""
    said = record.predicate.get("supervisor")
    if not isinstance(said, dict) or not record.moment.boot_id:
        return None
    numbers = [said.get(name, -1) for name in Watcher._fields[1:]]
    return Watcher(record.moment.boot_id, *numbers) if all(type(number) is int for number in numbers) else None


def is_running(record: Record) -> bool:
    """True only for a supervisor of this boot that is still there. Other hosts' and namespaces' runs are not."""
    watcher, ours = watcher_of(record), namespaces()
    return watcher is not None and watcher.boot_id == boot_id() and _is_seen(watcher, ours) and _is_there(watcher, ours)


def is_gone(watcher: Watcher, boot_now: str, ours: Namespaces) -> bool:
    """True only when it certainly is: another boot of this host, or a process of our PID namespace that is not there.
    ``boot_now`` is empty where this boot is not known."""
    if not boot_now:
        return False
    return watcher.boot_id != boot_now or (_is_seen(watcher, ours) and not _is_there(watcher, ours))


def _is_seen(watcher: Watcher, ours: Namespaces) -> bool:
    """Whether its pid means anything here."""
    return ours.pid != 0 and watcher.pid_namespace == ours.pid


def _is_there(watcher: Watcher, ours: Namespaces) -> bool:
    """A start time as another time namespace counts it proves nothing: then whoever has the pid is taken for it."""
    started = start_time(watcher.pid) if watcher.pid > 0 else 0
    comparable = watcher.time_namespace in (-1, ours.time)
    return started != 0 and (not comparable or started == watcher.starttime_ticks)
