"""Who wrote a ``started`` record, and whether that process still runs: tells a live run from a dead one."""

from __future__ import annotations

import os

from hivebox.audit.statement import Record, boot_id
from hivebox.kernel.pid import namespaces, start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


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


def is_running(record: Record) -> bool:
    """True only for a supervisor of this boot that is still there. Other hosts' and namespaces' runs are not."""
    supervisor = record.predicate.get("supervisor")
    if not isinstance(supervisor, dict) or not record.moment.boot_id or record.moment.boot_id != boot_id():
        return False
    return _is_seen(supervisor, identify()) and _is_there(supervisor, identify())


def is_gone(supervisor: Mapping[str, Any], me: Mapping[str, Any], boot_now: str) -> bool:
    """True only when it certainly is: another boot of this host, or a process of my PID namespace that is not there.
    ``supervisor`` has the ``boot_id`` of its record, ``boot_now`` is that of this boot."""
    boot = supervisor.get("boot_id")
    if not boot or not boot_now:
        return False
    return boot != boot_now or (_is_seen(supervisor, me) and not _is_there(supervisor, me))


def _is_seen(supervisor: Mapping[str, Any], me: Mapping[str, Any]) -> bool:
    """Whether its pid means anything here."""
    return bool(me["pid_namespace"]) and supervisor.get("pid_namespace") == me["pid_namespace"]


def _is_there(supervisor: Mapping[str, Any], me: Mapping[str, Any]) -> bool:
    """A start time as another time namespace counts it proves nothing: then whoever has the pid is taken for it."""
    pid: Any = supervisor.get("pid")
    started = start_time(pid) if isinstance(pid, int) and pid > 0 else 0
    comparable = supervisor.get("time_namespace", me["time_namespace"]) == me["time_namespace"]
    return started != 0 and (not comparable or started == supervisor.get("starttime_ticks"))
