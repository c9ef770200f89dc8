"""Removing the groups of supervisors that died without doing so.

A group says in its name who made it: a pid, that process's start time (so a reused pid is another process), and the
PID and time namespaces in which the two mean anything. Groups of others, of another user, or with a name that no
hivebox gives, are not touched: whoever shares our parent may call its own groups anything. The sandbox of a dead
supervisor is dead or dying (PDEATHSIG), so killing what is left is a last resort.

Of a supervisor in another PID namespace, a container's, nothing can be said. When that namespace is gone (no process is
seen in it) its groups are removed if they are empty and not new: nobody else ever would.
"""

from __future__ import annotations

import errno
import os
import time

from hivebox.kernel.cgroup import PREFIX, made_in, read, remove, write
from hivebox.kernel.pid import start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # without the enumerations, which cost 3 ms

_OLD_S = 300.0
_GONE_OR_NOT_OURS = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EBUSY}


def reap(*parents: str) -> None:
    """Everything abandoned in these directories. A run's v1 groups need not all be beside ours: each hierarchy has its
    own place for us."""
    ours = made_in()
    abandoned: dict[str, bool] = {}  # by name, which is the same in every hierarchy
    for parent in parents:
        for name in os.listdir(parent):
            if name not in abandoned:
                abandoned[name] = _is_abandoned(name, ours)
            if abandoned[name]:
                _remove(f"{parent}/{name}")
            elif ours and _is_elsewhere(name, ours):
                _remove_old(f"{parent}/{name}", int(name.split(".")[3].partition("-")[0]))


def _fields(name: str) -> list[str]:
    """Pid, start time and namespaces; none for a name that no hivebox gives."""
    parts = name.split(".")
    well_formed = name.startswith(PREFIX) and len(parts) == 5 and all(_is_number(part) for part in parts[1:3])
    return parts[1:4] if well_formed else []


def _is_abandoned(name: str, ours: str) -> bool:
    match _fields(name):
        case [pid, started, namespaces]:
            return ours != "" and namespaces == ours and start_time(int(pid)) != int(started)
    return False


def _is_elsewhere(name: str, ours: str) -> bool:
    """Made in another PID namespace. Where only the time namespace differs, the supervisor may well be alive."""
    match _fields(name):
        case [_, _, namespaces]:
            pid_namespace = namespaces.partition("-")[0]
            return _is_number(pid_namespace) and pid_namespace != ours.partition("-")[0]
    return False


def _remove_old(path: str, pid_namespace: int) -> None:
    """rmdir(2) refuses what has a process in it. One that has none may be about to get one, or to be read."""
    try:
        status = os.stat(path)
        if status.st_uid == os.geteuid() and time.time() - status.st_mtime > _OLD_S and not _is_seen(pid_namespace):
            os.rmdir(path)
    except OSError as error:
        if error.errno not in _GONE_OR_NOT_OURS:
            raise


def _is_seen(pid_namespace: int) -> bool:
    """Whether a process that we may look at is in it."""
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.stat(f"/proc/{name}/ns/pid").st_ino == pid_namespace:
                return True
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return False


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def _remove(path: str) -> None:
    try:
        if os.stat(path).st_uid == os.geteuid():
            os.rmdir(path)
    except OSError as error:
        if error.errno == errno.EBUSY:
            _empty(path)
        elif error.errno not in _GONE_OR_NOT_OURS:
            raise


def _empty(path: str) -> None:
    """Kill what is in it and the groups below it, and remove them."""
    try:
        _kill(path)
        for directory, _, _ in os.walk(path, topdown=False):
            remove(directory)
    except OSError as error:
        if error.errno not in _GONE_OR_NOT_OURS:
            raise


def _kill(path: str) -> None:
    """cgroup.kill(v2) for the whole subtree; in v1 one by one, as it is when a process cannot fork: init is dead."""
    try:
        write(f"{path}/cgroup.kill", "1")
    except FileNotFoundError:
        for pid in read(f"{path}/cgroup.procs").split():
            _kill_member(int(pid), path)


def _kill_member(pid: int, path: str) -> None:
    """The descriptor names one process for good; only then is it asked whether that one is still in the group."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if str(pid) in read(f"{path}/cgroup.procs").split():
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)
