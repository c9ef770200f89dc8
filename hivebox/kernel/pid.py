"""What makes a pid name one process for good: its start time, and the namespaces in which both mean anything."""

from __future__ import annotations

import os

from hivebox.frozen import Frozen

_STATE, _STARTTIME = 0, 19  # fields 3 and 22 of proc_pid_stat(5)


class Namespaces(Frozen):
    """Inodes. /proc shifts start times by the reader's time namespace (time_namespaces(7)); ``time`` is 0 before
    Linux 5.6, both are 0 where /proc is that of another PID namespace and tells nothing."""

    pid: int = 0
    time: int = 0


def namespaces() -> Namespaces:
    """This process's."""
    if os.readlink("/proc/self") != str(os.getpid()):
        return Namespaces()
    return Namespaces(_namespace("pid"), _namespace("time"))


def _namespace(kind: str) -> int:
    """From ``pid:[4026531836]``. Not by stat(2), which follows the link to where AppArmor may let nobody go."""
    try:
        return int(os.readlink(f"/proc/self/ns/{kind}").partition("[")[2][:-1])
    except FileNotFoundError:
        return 0


def start_time(pid: int) -> int:
    """Ticks since boot; 0 when there is no such process, or only its parent does not know yet."""
    fields = stat(pid)
    return int(fields[_STARTTIME]) if fields and fields[_STATE] not in (b"Z", b"X") else 0


def stat(pid: int) -> list[bytes]:
    """The fields of proc_pid_stat(5) from the third on; empty when there is no such process."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return []
    try:
        return os.read(fd, 4096).rpartition(b")")[2].split()  # behind the command name, which may hold anything
    except ProcessLookupError:
        return []
    finally:
        os.close(fd)
