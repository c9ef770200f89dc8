"""One control group per run: limits, usage, events. The v1 backend; ``Cgroup`` is what a v2 backend will offer.

A run's directories are called ``hivebox.<pid>.<start>.<run>`` after the supervisor that made them, in the
supervisor's own group or in a delegated one, so that a later hivebox can remove what a killed one left behind.
Found by doing (mkdir, open, write), never by reading mount options.
"""

from __future__ import annotations

import os
import select

from hivebox.errors import HiveboxError, errno_text
from hivebox.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object

_ROOT = "/sys/fs/cgroup"
_PREFIX = "hivebox."
_REQUIRED = ("memory", "pids", "cpuacct")
_WANTED = ("cpu", "blkio")


class Usage(Frozen):
    """Of the whole tree. Bytes and seconds; ``io_*`` is block I/O, 0 where the host does not count it."""

    cpu_user_s: float
    cpu_system_s: float
    memory_peak_bytes: int
    pids_peak: int
    io_read_bytes: int
    io_write_bytes: int


class Cgroup(Protocol):
    """What the supervisor needs of a backend. ``join_fds`` go to the child, which writes ``0`` into each."""

    backend: str
    join_fds: tuple[int, ...]

    def watch(self) -> dict[int, tuple[str, int]]:
        """Descriptor -> (limit that may have been reached, epoll events)."""

    def reached(self, limit: str) -> bool:
        """True when ``memory`` or ``pids`` was refused since the start."""

    def cpu_time_s(self) -> float:
        """CPU seconds of the tree so far."""

    def usage(self) -> Usage:
        """Final figures."""

    def close(self) -> None:
        """Close every descriptor and remove the group; the tree must be dead."""


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


def read_all(path: str) -> str:
    """A proc file of any length."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def start_time(pid: int) -> str:
    """Field 22 of /proc/PID/stat: with the pid it names a process for as long as the machine is up; "" if gone."""
    try:
        return read(f"/proc/{pid}/stat").rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def own_groups() -> dict[str, str]:
    """v1 controller -> this process's path in its hierarchy."""
    groups = {}
    for line in read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            if controller:
                groups[controller] = path
    return groups


def _parents(controller: str, own: str) -> tuple[str, ...]:
    """Directories in which a run's group may be made, best first."""
    base = f"{_ROOT}/{controller}"
    user = f"hivebox-{os.geteuid()}"
    return (f"{base}{own.rstrip('/')}/{user}", f"{base}/{user}", f"{base}{own.rstrip('/')}")


def _make(controller: str, own: str, name: str) -> str:
    errors = []
    for parent in _parents(controller, own):
        path = f"{parent}/{name}"
        try:
            os.mkdir(path, 0o755)
        except OSError as error:
            errors.append(f"{path}: {errno_text(error.errno or 0)}")
        else:
            return path
    raise HiveboxError(
        f"cannot make a {controller} control group",
        errors[-1],
        "ask the administrator to run scripts/delegate-cgroup for this user, or run as root",
    )


def reap(parent: str) -> None:
    """Remove the groups of supervisors that no longer live. A group that still has processes stays (EBUSY)."""
    for name in os.listdir(parent):
        parts = name.split(".")
        if not name.startswith(_PREFIX) or len(parts) != 4 or not parts[1].isdigit():
            continue
        if start_time(int(parts[1])) == parts[2]:
            continue
        try:
            os.rmdir(f"{parent}/{name}")
        except OSError as error:
            if error.errno not in {2, 13, 16}:  # gone already, another user's, still has processes
                raise


class CgroupV1:
    """memory, pids and cpuacct (cpu and blkio where the host lets us) in the v1 hierarchies."""

    backend = "cgroup-v1"

    def __init__(self, run_id: str, *, memory_bytes: int, pids: int, cpus: float) -> None:
        own = own_groups()
        missing = [name for name in _REQUIRED if name not in own]
        if missing:
            raise HiveboxError(
                "cannot limit memory, processes and CPU time by cgroup",
                f"no v1 hierarchy for {', '.join(missing)} on this host",
                "see `hivebox doctor`",
            )
        self._paths: dict[str, str] = {}
        self._fds: list[int] = []
        self.join_fds: tuple[int, ...] = ()
        pid = os.getpid()
        name = f"{_PREFIX}{pid}.{start_time(pid)}.{run_id}"
        try:
            self._create(own, name, cpus)
            self._limit(memory_bytes, pids, cpus)
            self.join_fds = tuple(self._open(f"{path}/tasks", os.O_WRONLY) for path in self._paths.values())
            self._arm()
        except BaseException:
            self.close()
            raise

    def _create(self, own: dict[str, str], name: str, cpus: float) -> None:
        for controller in _REQUIRED:
            self._paths[controller] = _make(controller, own[controller], name)
            reap(os.path.dirname(self._paths[controller]))
        for controller in _WANTED:
            if controller == "cpu" and not cpus:
                continue
            if controller in own:
                try:
                    self._paths[controller] = _make(controller, own[controller], name)
                except HiveboxError:
                    if controller == "cpu":
                        raise
                else:
                    reap(os.path.dirname(self._paths[controller]))

    def _limit(self, memory_bytes: int, pids: int, cpus: float) -> None:
        memory = self._paths["memory"]
        write(f"{memory}/memory.limit_in_bytes", str(memory_bytes))
        if os.path.exists(f"{memory}/memory.memsw.limit_in_bytes"):
            write(f"{memory}/memory.memsw.limit_in_bytes", str(memory_bytes))
        else:
            write(f"{memory}/memory.swappiness", "0")
        # Socket buffers are not in memory.usage of a v1 hierarchy: without this, 100 loopback pairs hold 800 MB.
        if os.path.exists(f"{memory}/memory.kmem.tcp.limit_in_bytes"):
            write(f"{memory}/memory.kmem.tcp.limit_in_bytes", str(memory_bytes // 8))
        write(f"{self._paths['pids']}/pids.max", str(pids))
        if cpus:
            write(f"{self._paths['cpu']}/cpu.cfs_period_us", "100000")
            write(f"{self._paths['cpu']}/cpu.cfs_quota_us", str(max(1000, int(cpus * 100000))))

    def _open(self, path: str, flags: int) -> int:
        handle = os.open(path, flags | os.O_CLOEXEC)
        self._fds.append(handle)
        return handle

    def _arm(self) -> None:
        memory = self._paths["memory"]
        self._oom_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._fds.append(self._oom_fd)
        control = self._open(f"{memory}/memory.oom_control", os.O_RDONLY)
        write(f"{memory}/cgroup.event_control", f"{self._oom_fd} {control}")
        self._pids_fd = self._open(f"{self._paths['pids']}/pids.events", os.O_RDONLY)
        self._cpu_fd = self._open(f"{self._paths['cpuacct']}/cpuacct.usage", os.O_RDONLY)

    def watch(self) -> dict[int, tuple[str, int]]:
        # pids.events is not here: in v1 hierarchies the kernel changes it without waking anyone (seen on 6.18).
        return {self._oom_fd: ("memory", select.EPOLLIN)}

    def reached(self, limit: str) -> bool:
        if limit == "memory":
            return "oom_kill 0" not in read(f"{self._paths['memory']}/memory.oom_control")
        return os.pread(self._pids_fd, 64, 0).split() != [b"max", b"0"]

    def cpu_time_s(self) -> float:
        return int(os.pread(self._cpu_fd, 32, 0)) / 1e9

    def usage(self) -> Usage:
        memory = self._paths["memory"]
        io = self._block_io()
        user_s, system_s = self._cpu_split()
        return Usage(
            cpu_user_s=user_s,
            cpu_system_s=system_s,
            memory_peak_bytes=int(read(f"{memory}/memory.max_usage_in_bytes")) + self._socket_peak(),
            pids_peak=self._pids_peak(),
            io_read_bytes=io["Read"],
            io_write_bytes=io["Write"],
        )

    def _cpu_split(self) -> tuple[float, float]:
        """cpuacct.usage is exact. Its parts are sampled by the timer tick (13 % off on a busy host), so they only say
        how to divide it."""
        cpuacct, total_s = self._paths["cpuacct"], self.cpu_time_s()
        user, system = (int(read(f"{cpuacct}/cpuacct.usage_{part}")) for part in ("user", "sys"))
        user_s = total_s * user / (user + system) if user + system else total_s
        return user_s, total_s - user_s

    def _socket_peak(self) -> int:
        path = f"{self._paths['memory']}/memory.kmem.tcp.max_usage_in_bytes"
        return int(read(path)) if os.path.exists(path) else 0

    def _pids_peak(self) -> int:
        """pids.peak is there since Linux 6.11; without it 0, which the report shows as unknown."""
        try:
            return int(read(f"{self._paths['pids']}/pids.peak"))
        except FileNotFoundError:
            return 0

    def _block_io(self) -> dict[str, int]:
        totals = {"Read": 0, "Write": 0}
        if "blkio" in self._paths:
            for line in read(f"{self._paths['blkio']}/blkio.throttle.io_service_bytes").splitlines():
                fields = line.split()
                if len(fields) == 3 and fields[1] in totals:
                    totals[fields[1]] += int(fields[2])
        return totals

    def close(self) -> None:
        for handle in self._fds:
            os.close(handle)
        self._fds.clear()
        for path in self._paths.values():
            try:
                os.rmdir(path)
            except FileNotFoundError:
                continue
        self._paths.clear()
