"""Who wrote a ``started`` record, and whether that process still runs: tells a live run from a dead one."""

from __future__ import annotations

import os

from hivebox.audit.statement import Record, boot_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_AFTER_COMM_STARTTIME = 19  # field 22 of proc_pid_stat(5), counted behind the command name (which may hold anything)


def identify() -> dict[str, int]:
    """This process, for a record's ``supervisor`` field: a pid alone is reused, with its start time it is not, and it
    means something only in its PID namespace."""
    pid = os.getpid()
    return {"pid": pid, "pid_namespace": _pid_namespace(), "starttime_ticks": _starttime_ticks(pid) or 0}


def is_running(record: Record) -> bool:
    """True only for a supervisor of this boot that is still there. Other hosts' and namespaces' runs are not."""
    supervisor = record.predicate.get("supervisor")
    if not isinstance(supervisor, dict) or not record.moment.boot_id or record.moment.boot_id != boot_id():
        return False
    return _is_alive(supervisor)


def is_gone(supervisor: Mapping[str, Any], me: Mapping[str, Any]) -> bool:
    """True only when it certainly is: another boot of this host, or a process of my PID namespace that is not there.
    ``supervisor`` has the ``boot_id`` of its record."""
    boot = supervisor.get("boot_id")
    if not boot or not boot_id():
        return False
    if boot != boot_id():
        return True
    return supervisor.get("pid_namespace") == me["pid_namespace"] and not _is_alive(supervisor)


def _is_alive(supervisor: Mapping[str, Any]) -> bool:
    pid: Any = supervisor.get("pid")
    ticks: Any = supervisor.get("starttime_ticks")
    return isinstance(pid, int) and pid > 0 and bool(ticks) and _starttime_ticks(pid) == ticks


def _pid_namespace() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except FileNotFoundError:
        return 0


def _starttime_ticks(pid: int) -> int | None:
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        fields = os.read(fd, 4096).rpartition(b")")[2].split()
        return int(fields[_AFTER_COMM_STARTTIME])
    except ProcessLookupError:
        return None
    finally:
        os.close(fd)
