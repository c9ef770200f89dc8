"""Groups in the v1 hierarchies, one per controller."""

from __future__ import annotations

import os
import select

from hivebox.errors import HiveboxError, errno_text
from hivebox.kernel.cgroup import GroupLimits, IoLimits, Usage, read, remove, write

_ROOT = "/sys/fs/cgroup"
_REQUIRED = ("memory", "pids", "cpuacct")


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


class CgroupV1:
    """memory, pids and cpuacct; cpu and blkio where they are limited or the host lets us count."""

    backend = "cgroup-v1"
    late = False
    polls = True  # in v1 hierarchies the kernel changes pids.events without waking anyone (seen on 6.18)

    def __init__(self, name: str, limits: GroupLimits, own: dict[str, str]) -> None:
        self.refused: tuple[tuple[str, str], ...] = ()
        self.join_fds: tuple[int, ...] = ()
        self._paths: dict[str, str] = {}
        self._fds: list[int] = []
        self._ran_out = False
        self._pids_seen = 0
        try:
            self._create(own, name, limits)
            self._limit(limits)
            self.join_fds = tuple(self._open(f"{path}/tasks", os.O_WRONLY) for path in self._paths.values())
            self._arm()
        except BaseException:
            self.close()
            raise

    @property
    def place(self) -> str:
        return self._paths["memory"]

    def attach(self, init_pid: int) -> None:
        """Nothing: the groups are there."""

    def _create(self, own: dict[str, str], name: str, limits: GroupLimits) -> None:
        needed = {*_REQUIRED, *(("cpu",) if limits.cpus else ()), *(("blkio",) if limits.io.wanted else ())}
        for controller in (*_REQUIRED, *(("cpu",) if limits.cpus else ()), "blkio"):
            if controller not in own and controller in needed:
                why = f"no v1 hierarchy for {controller} on this host"
                raise HiveboxError(f"cannot make a {controller} control group", why, "see `hivebox doctor`")
            try:
                if controller in own:
                    self._paths[controller] = _make(controller, own[controller], name)
            except HiveboxError:
                if controller in needed:
                    raise

    def _limit(self, limits: GroupLimits) -> None:
        memory = self._paths["memory"]
        write(f"{memory}/memory.limit_in_bytes", str(limits.memory_bytes))
        if os.path.exists(f"{memory}/memory.memsw.limit_in_bytes"):
            write(f"{memory}/memory.memsw.limit_in_bytes", str(limits.memory_bytes))
        else:
            write(f"{memory}/memory.swappiness", "0")
        # Socket buffers are not in memory.usage of a v1 hierarchy: without this, 100 loopback pairs hold 800 MB.
        if os.path.exists(f"{memory}/memory.kmem.tcp.limit_in_bytes"):
            write(f"{memory}/memory.kmem.tcp.limit_in_bytes", str(limits.memory_bytes // 8))
        write(f"{self._paths['pids']}/pids.max", str(limits.pids))
        if limits.cpus:
            write(f"{self._paths['cpu']}/cpu.cfs_period_us", "100000")
            write(f"{self._paths['cpu']}/cpu.cfs_quota_us", str(max(1000, int(limits.cpus * 100000))))
        if limits.io.wanted:
            self._throttle(limits.io)

    def _throttle(self, io: IoLimits) -> None:
        for name, rate in (
            ("read_bps", io.read_bytes_s),
            ("write_bps", io.write_bytes_s),
            ("read_iops", io.read_ops_s),
            ("write_iops", io.write_ops_s),
        ):
            for device in io.devices if rate else ():
                write(f"{self._paths['blkio']}/blkio.throttle.{name}_device", f"{device} {rate}")

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
        return {self._oom_fd: ("memory", select.EPOLLIN)}

    def reached(self, limit: str) -> bool:
        if limit == "pids":
            return os.pread(self._pids_fd, 64, 0).split() != [b"max", b"0"]
        try:
            os.eventfd_read(self._oom_fd)  # before the kernel has chosen whom to kill
            self._ran_out = True
        except BlockingIOError:
            self._ran_out = self._ran_out or "oom_kill 0" not in read(f"{self.place}/memory.oom_control")
        return self._ran_out

    def sample(self) -> None:
        """pids.peak is there since Linux 6.1."""
        if not os.path.exists(f"{self._paths['pids']}/pids.peak"):
            self._pids_seen = max(self._pids_seen, int(read(f"{self._paths['pids']}/pids.current")))

    def cpu_time_s(self) -> float:
        return int(os.pread(self._cpu_fd, 32, 0)) / 1e9

    def usage(self) -> Usage:
        io = self._block_io()
        user_s, system_s = self._cpu_split()
        return Usage(
            cpu_user_s=user_s,
            cpu_system_s=system_s,
            memory_peak_bytes=int(read(f"{self.place}/memory.max_usage_in_bytes")) + self._socket_peak(),
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
        path = f"{self.place}/memory.kmem.tcp.max_usage_in_bytes"
        return int(read(path)) if os.path.exists(path) else 0

    def _pids_peak(self) -> int:
        try:
            return int(read(f"{self._paths['pids']}/pids.peak"))
        except FileNotFoundError:
            return self._pids_seen

    def _block_io(self) -> dict[str, int]:
        totals = {"Read": 0, "Write": 0}
        if "blkio" in self._paths:
            for line in read(f"{self._paths['blkio']}/blkio.throttle.io_service_bytes").splitlines():
                fields = line.split()
                if len(fields) == 3 and fields[1] in totals:
                    totals[fields[1]] += int(fields[2])
        return totals

    def settle(self) -> None:
        """Nothing: the groups stay until ``close``."""

    def kill(self) -> None:
        """Nothing: v1 has no cgroup.kill, and the end of the PID namespace has killed them all."""

    def close(self) -> None:
        for handle in self._fds:
            os.close(handle)
        self._fds.clear()
        self.join_fds = ()
        for path in self._paths.values():
            remove(path)
        self._paths.clear()

    def reap(self) -> None:
        from hivebox.kernel.cgroup.reap import reap  # noqa: PLC0415  # while the sandbox mounts

        reap(*(os.path.dirname(path) for path in self._paths.values()))
