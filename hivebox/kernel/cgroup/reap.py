"""Removing the groups of supervisors that died without doing so.

A group says in its name who made it: a pid, that process's start time (so a reused pid is another process), and the
PID and time namespaces in which the two mean anything. Groups of others, of another user, or with a name that no
hivebox gives, are not touched: whoever shares our parent may call its own groups anything. The sandbox of a dead
supervisor is dead or dying (PDEATHSIG), so killing what is left is a last resort.
"""

from __future__ import annotations

import errno
import os

from hivebox.kernel.cgroup import PREFIX, made_in, read, remove, write
from hivebox.kernel.pid import start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # without the enumerations, which cost 3 ms

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


def _is_abandoned(name: str, ours: str) -> bool:
    parts = name.split(".")
    if not name.startswith(PREFIX) or len(parts) != 5 or not all(_is_number(part) for part in parts[1:3]):
        return False
    return ours != "" and parts[3] == ours and start_time(int(parts[1])) != int(parts[2])


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
