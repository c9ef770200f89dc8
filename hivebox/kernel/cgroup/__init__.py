"""One control group per run: limits, usage, events, the end.

Theory of operation. A controller (memory, pids, io...) belongs to one hierarchy at a time, v1 or v2, and
/proc/self/cgroup says which: where v1 has memory, pids and cpuacct, nothing else can limit them, and a cgroup2 mount
beside it, as hybrid hosts have, is of no use. Otherwise the ways of v2 are tried in order, and the first that works
is taken. Whether one works is found by doing (mkdir, enable, write, open), never by reading mount options.

    v1        groups in the v1 hierarchies: of our own, or delegated by scripts/delegate-cgroup
    v2        a group below the nearest one that is ours to divide: delegated, a container's, or root's without systemd
    systemd   a transient scope with Delegate=yes, asked of the user's service manager (root: the system's) over D-Bus

Only the module of the way taken is imported. ``make`` is called before the sandbox exists; ``attach``, with its init,
is when a scope can be asked for. The payload joins by writing ``0`` into descriptors that the supervisor opened: the
kernel judges by who opened them, and the path need not exist in the sandbox.

Groups are called ``hivebox.PID.START.NAMESPACES.RUN`` after the supervisor that made them, so that a later hivebox can
remove what a killed one left behind (``reap``). Killing is the PID namespace's business, which cannot miss a process:
see docs/architecture.md#killing.
"""

from __future__ import annotations

import errno
import os
import time

from hivebox.errors import HiveboxError
from hivebox.frozen import Frozen
from hivebox.kernel.pid import namespaces, start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object

PREFIX = "hivebox."
WAYS = ("v1", "v2", "systemd")
_V1_REQUIRED = ("memory", "pids", "cpuacct")
_REMOVE_S = 5.0
_REMOVE_STEP_S = 0.002


class Usage(Frozen):
    """Of the whole tree. Bytes and seconds; ``io_*`` is block I/O, 0 where the host does not count it. ``stall_*`` is
    how long at least one of its threads waited for that resource (PSI), None where the kernel does not measure it."""

    cpu_user_s: float
    cpu_system_s: float
    memory_peak_bytes: int
    pids_peak: int
    io_read_bytes: int
    io_write_bytes: int
    stall_cpu_s: float | None = None
    stall_memory_s: float | None = None
    stall_io_s: float | None = None


class IoLimits(Frozen):
    """Rates on each of ``devices`` (``major:minor`` of whole disks); 0 is not limited."""

    read_bytes_s: int = 0
    write_bytes_s: int = 0
    read_ops_s: int = 0
    write_ops_s: int = 0
    devices: tuple[str, ...] = ()

    @property
    def wanted(self) -> bool:
        """Whether anything is limited."""
        return any((self.read_bytes_s, self.write_bytes_s, self.read_ops_s, self.write_ops_s))


class GroupLimits(Frozen):
    """What a group enforces. ``cpus`` 0.0 is not limited."""

    memory_bytes: int
    pids: int
    cpus: float = 0.0
    io: IoLimits = IoLimits()


class Cgroup(Protocol):
    """What the supervisor needs of a group. ``backend`` is the mechanism's name in reports, ``refused`` says why each
    way before this one was not taken, ``late`` that ``join_fds`` exist only after ``attach``. ``polls``: something
    must be looked at regularly, since this kernel keeps no peak of it or wakes nobody."""

    backend: str
    late: bool
    polls: bool
    refused: tuple[tuple[str, str], ...]
    join_fds: tuple[int, ...]

    @property
    def place(self) -> str:
        """The directory of the group."""

    def attach(self, init_pid: int) -> None:
        """The sandbox's init exists and waits. Raises HiveboxError."""

    def watch(self) -> dict[int, tuple[str, int]]:
        """Descriptor -> (limit that may have been reached, epoll events)."""

    def reached(self, limit: str) -> bool:
        """True when ``memory`` or ``pids`` was refused since the start."""

    def sample(self) -> None:
        """Look at what this kernel keeps no peak of."""

    def cpu_time_s(self) -> float:
        """CPU seconds of the tree so far."""

    def usage(self) -> Usage:
        """Final figures."""

    def settle(self) -> None:
        """Called when the tree has ended, or just before it is killed, while init still lives: the last moment at which
        a ``late`` group is sure to be there."""

    def kill(self) -> None:
        """SIGKILL to every process of the group, where the kernel can do that at once."""

    def close(self) -> None:
        """Close every descriptor and remove the group; the tree must be dead or dying."""

    def reap(self) -> None:
        """Remove what earlier supervisors left beside this group."""


def make(run_id: str, limits: GroupLimits, ways: tuple[str, ...] = WAYS) -> Cgroup:
    """The group of a run, by the first way that works here. Raises HiveboxError with what each of them said."""
    own = own_groups()
    has_v1 = all(name in own for name in _V1_REQUIRED)
    refused: list[tuple[str, HiveboxError]] = []
    for way in WAYS:
        if way not in ways or (way == "v1") is not has_v1:
            continue
        try:
            group = _make(way, run_id, limits, own)
        except HiveboxError as error:
            refused.append((way, error))
        else:
            group.refused = tuple((name, f"{error.what}: {error.why}") for name, error in refused)
            return group
    raise _none_works(refused, own)


def _make(way: str, run_id: str, limits: GroupLimits, own: dict[str, str]) -> Cgroup:
    name = group_name(run_id)
    if way == "v1":
        from hivebox.kernel.cgroup.v1 import CgroupV1  # noqa: PLC0415  # only the way taken

        return CgroupV1(name, limits, own)
    if "" not in own:
        raise HiveboxError("cannot use cgroup v2", "this kernel, or container, shows none", "see `hivebox doctor`")
    if way == "v2":
        from hivebox.kernel.cgroup.delegated import Delegated  # noqa: PLC0415  # only the way taken

        return Delegated(name, limits, own[""])
    from hivebox.kernel.cgroup.systemd import Scope  # noqa: PLC0415  # only the way taken

    return Scope(run_id, limits)


def _none_works(refused: list[tuple[str, HiveboxError]], own: dict[str, str]) -> HiveboxError:
    if len(refused) == 1:
        return refused[0][1]
    if not refused:
        missing = [name for name in _V1_REQUIRED if name not in own]
        why = f"no hierarchy for {', '.join(missing)} on this host" if missing else "no way to was left to try"
        return HiveboxError("cannot limit memory, processes and CPU time by cgroup", why, "see `hivebox doctor`")
    reasons = "; ".join(f"{name}: {error.what}: {error.why}" for name, error in refused)
    return HiveboxError("cannot make a control group", reasons, refused[-1][1].hint)


def write(path: str, value: str) -> None:
    """One write(2): ``open(...).write`` loses EBUSY and EINVAL at close."""
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(handle, value.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(handle)


def read(path: str) -> str:
    """A whole cgroup or proc file."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(handle, 1 << 16).decode()
    finally:
        os.close(handle)


def made_in() -> str:
    """Where the pid and the start time in a group's name mean what they mean to us; "" where /proc tells neither."""
    ours = namespaces()
    return f"{ours.pid}-{ours.time}" if ours.pid else ""


def group_name(run_id: str) -> str:
    """The name of a group that this process makes."""
    pid = os.getpid()
    return f"{PREFIX}{pid}.{start_time(pid)}.{made_in()}.{run_id}"


def own_groups() -> dict[str, str]:
    """v1 controller -> this process's path in its hierarchy; "" -> its path in v2's."""
    groups = {}
    for line in read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path
    return groups


def remove(path: str) -> None:
    """rmdir(2), which refuses (EBUSY) while a process of the group is not quite dead: wait for that. Raises OSError
    after ``_REMOVE_S``."""
    deadline = time.monotonic() + _REMOVE_S
    while True:
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(_REMOVE_STEP_S)
        else:
            return
