"""One group in the v2 hierarchy: admin-guide/cgroup-v2.rst in the kernel's documentation."""

from __future__ import annotations

import os
import select

from hivebox.errors import HiveboxError, errno_text
from hivebox.kernel.cgroup import GroupLimits, IoLimits, Usage, read, remove, write

REQUIRED = ("memory", "pids")
_STALLS = ("cpu", "memory", "io")
_EVENT = select.EPOLLPRI | select.EPOLLERR  # a file of events has changed since it was read last


class CgroupV2:
    """Made by ``_fill``, in a directory that a subclass finds. Its parent's controllers must be enabled."""

    backend = "cgroup-v2"
    late = False

    def __init__(self) -> None:
        self.refused: tuple[tuple[str, str], ...] = ()
        self.join_fds: tuple[int, ...] = ()
        self.polls = False
        self._path = ""
        self._fds: dict[str, int] = {}
        self._memory_seen = self._pids_seen = 0

    @property
    def place(self) -> str:
        return self._path

    def attach(self, init_pid: int) -> None:
        """Nothing: the group is there."""

    def _fill(self, path: str, limits: GroupLimits) -> None:
        """mkdir(2) and everything in it. Raises OSError; ``close`` then removes what is there."""
        os.mkdir(path, 0o755)
        self._path = path
        write(f"{path}/memory.max", str(limits.memory_bytes))
        self._forbid_swap()
        write(f"{path}/pids.max", str(limits.pids))
        if limits.cpus:
            write(f"{path}/cpu.max", f"{max(1000, int(limits.cpus * 100000))} 100000")
        for device in limits.io.devices if limits.io.wanted else ():
            write(f"{path}/io.max", f"{device} {_rates(limits.io)}")
        self.join_fds = (self._open("cgroup.procs", os.O_WRONLY),)
        for name in ("memory.events", "pids.events", "cpu.stat"):
            self._open(name, os.O_RDONLY)
        for name in ("memory", "pids"):
            if not os.path.exists(f"{path}/{name}.peak"):  # memory's since Linux 5.19, pids' since 6.1
                self._open(f"{name}.current", os.O_RDONLY)
                self.polls = True

    def _forbid_swap(self) -> None:
        """What is swapped out does not count as memory. A kernel that cannot count it must have none."""
        try:
            write(f"{self._path}/memory.swap.max", "0")
        except FileNotFoundError as error:
            if len(read("/proc/swaps").splitlines()) > 1:
                why = f"{self._path}/memory.swap.max: {errno_text(error.errno or 0)}, and this host has swap"
                raise HiveboxError("cannot limit swap", why, "boot with swapaccount=1, or without swap") from error

    def _open(self, name: str, flags: int) -> int:
        self._fds[name] = os.open(f"{self._path}/{name}", flags | os.O_CLOEXEC)
        return self._fds[name]

    def _events(self, limit: str) -> dict[bytes, int]:
        """Reading arms the next notification."""
        words = os.pread(self._fds[f"{limit}.events"], 256, 0).split()
        return {name: int(count) for name, count in zip(words[::2], words[1::2], strict=True)}

    def watch(self) -> dict[int, tuple[str, int]]:
        for limit in REQUIRED:
            self._events(limit)
        return {self._fds[f"{limit}.events"]: (limit, _EVENT) for limit in REQUIRED}

    def reached(self, limit: str) -> bool:
        """Not ``oom_kill``: that counts what the host's own lack of memory killed as well."""
        return self._events(limit)[b"oom" if limit == "memory" else b"max"] > 0

    def sample(self) -> None:
        self._memory_seen = max(self._memory_seen, self._current("memory"))
        self._pids_seen = max(self._pids_seen, self._current("pids"))

    def _current(self, name: str) -> int:
        handle = self._fds.get(f"{name}.current", -1)
        return int(os.pread(handle, 32, 0)) if handle >= 0 else 0

    def cpu_time_s(self) -> float:
        return self._cpu()[b"usage_usec"] / 1e6

    def _cpu(self) -> dict[bytes, int]:
        words = os.pread(self._fds["cpu.stat"], 4096, 0).split()
        return {name: int(count) for name, count in zip(words[::2], words[1::2], strict=True)}

    def usage(self) -> Usage:
        cpu, io = self._cpu(), self._block_io()
        stalls = {f"stall_{name}_s": self._stall_s(name) for name in _STALLS}
        return Usage(
            cpu_user_s=cpu[b"user_usec"] / 1e6,
            cpu_system_s=cpu[b"system_usec"] / 1e6,
            memory_peak_bytes=self._peak("memory", self._memory_seen),
            pids_peak=self._peak("pids", self._pids_seen),
            io_read_bytes=io["rbytes"],
            io_write_bytes=io["wbytes"],
            **stalls,
        )

    def _peak(self, name: str, seen: int) -> int:
        try:
            return int(read(f"{self._path}/{name}.peak"))
        except FileNotFoundError:
            return seen

    def _block_io(self) -> dict[str, int]:
        """``8:0 rbytes=1 wbytes=2 ...``, a line for each device; no file without the controller."""
        totals = {"rbytes": 0, "wbytes": 0}
        try:
            lines = read(f"{self._path}/io.stat").splitlines()
        except FileNotFoundError:
            return totals
        for line in lines:
            for field in line.split()[1:]:
                name, _, count = field.partition("=")
                if name in totals:
                    totals[name] += int(count)
        return totals

    def _stall_s(self, name: str) -> float | None:
        """``some avg10=0.00 ... total=123``, in microseconds. PSI can be left out, or switched off at boot."""
        try:
            some = read(f"{self._path}/{name}.pressure").partition("\n")[0]
        except OSError:
            return None
        return int(some.rpartition("total=")[2]) / 1e6

    def settle(self) -> None:
        """Nothing: the group stays until ``close``."""

    def kill(self) -> None:
        """The group is never used again: whoever is cloned into a killed one dies at birth."""
        try:
            write(f"{self._path}/cgroup.kill", "1")
        except FileNotFoundError:
            return  # the group is gone, and so are its processes

    def close(self) -> None:
        for handle in self._fds.values():
            os.close(handle)
        self._fds.clear()
        self.join_fds = ()
        if self._path:
            remove(self._path)
            self._path = ""

    def reap(self) -> None:
        """Nothing to look for, unless a subclass knows where."""


def _rates(io: IoLimits) -> str:
    rates = (
        ("rbps", io.read_bytes_s), ("wbps", io.write_bytes_s), ("riops", io.read_ops_s), ("wiops", io.write_ops_s),
    )  # fmt: skip
    return " ".join(f"{name}={rate}" for name, rate in rates if rate)


def wanted_controllers(limits: GroupLimits) -> tuple[set[str], set[str]]:
    """Those that the limits need, and those that are good to have: ``io`` counts what is read and written."""
    needed = {*REQUIRED, *(("cpu",) if limits.cpus else ()), *(("io",) if limits.io.wanted else ())}
    return needed, needed | {"io"}


def enable(path: str, limits: GroupLimits) -> None:
    """Give the children of ``path`` the controllers they need. Raises HiveboxError when one is not to be had, OSError
    (EBUSY) when ``path`` has processes of its own."""
    needed, wanted = wanted_controllers(limits)
    enabled = set(read(f"{path}/cgroup.subtree_control").split())
    if wanted <= enabled:
        return
    available = set(read(f"{path}/cgroup.controllers").split())
    if not needed <= available:
        missing = ", ".join(sorted(needed - available))
        raise HiveboxError(
            f"cannot limit by the cgroup controller {missing}",
            f"{path}/cgroup.controllers: it is not delegated to this group",
            "scripts/delegate-cgroup, run as root for this user, delegates all: docs/install.md#cgroups",
        )
    new = (wanted & available) - enabled
    if new:
        write(f"{path}/cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(new)))
