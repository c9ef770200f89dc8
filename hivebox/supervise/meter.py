"""What the tree has used: by control group where there is one, by reading /proc where the policy allows that."""

from __future__ import annotations

import os
import time

from hivebox.kernel.cgroup import Cgroup, Usage
from hivebox.kernel.pid import stat
from hivebox.policy.model import Limits
from hivebox.supervise.unaccepted import Unaccepted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_POLL_INTERVAL_S = 0.02
_LOOK_S = 0.05
_SAMPLE_INTERVAL_S = 0.05
_IDLE_INTERVAL_S = 0.2
_SHORTEST_S = 0.005


class Meter(Protocol):
    """Asked by the loop every ``next_check_s`` seconds and once at the end."""

    mechanism: str

    def over(self, limits: Limits) -> str:
        """``memory``, ``cpu_time`` or ``pids`` when that limit is passed, else ""."""

    def next_check_s(self, limits: Limits) -> float:
        """Seconds in which no limit can be passed unnoticed by more than the poll interval."""

    def usage(self) -> Usage:
        """The final figures."""


class CgroupMeter:
    """The kernel stops memory and processes at their limits. What it does not wake us for is looked at: CPU time as
    often as it could run out, connections that are in no group, and, where the group ``polls``, refused forks and
    sampled peaks."""

    def __init__(self, group: Cgroup, init_pid: int) -> None:
        self.mechanism = group.backend
        self._unaccepted = Unaccepted(init_pid)
        self._group = group
        self._cpus = os.cpu_count() or 1
        self._interval_s = _SAMPLE_INTERVAL_S if group.polls else _IDLE_INTERVAL_S

    def over(self, limits: Limits) -> str:
        if self._group.polls:
            self._group.sample()
            if self._group.reached("pids"):
                return "pids"
        if self._unaccepted.over(limits):
            return "memory"
        return "cpu_time" if self._group.cpu_time_s() >= limits.cpu_time_s else ""

    def next_check_s(self, limits: Limits) -> float:
        soonest = (limits.cpu_time_s - self._group.cpu_time_s()) / self._cpus
        interval_s = _SAMPLE_INTERVAL_S if self._unaccepted.any_socket else self._interval_s
        return min(max(soonest, _SHORTEST_S), interval_s)

    def usage(self) -> Usage:
        usage = self._group.usage()
        return usage._replace(memory_peak_bytes=usage.memory_peak_bytes + self._unaccepted.peak_bytes)


class PollMeter:
    """Walks init's descendants in the host's /proc. A burst shorter than the interval can pass unseen: that is why a
    record says ``poll``."""

    mechanism = "poll"

    def __init__(self, init_pid: int, work_fd: int) -> None:
        self._init_pid = init_pid
        self._unaccepted = Unaccepted(init_pid)
        self._work_fd = work_fd
        self._cpu_user_s = self._cpu_system_s = 0.0
        self._memory_bytes = self._memory_peak_bytes = self._pids_peak = 0
        self._alive: dict[tuple[int, bytes], tuple[int, int]] = {}  # (pid, start time) -> user, system ticks
        self._gone_user = self._gone_system = 0

    def over(self, limits: Limits) -> str:
        self._sample()
        if self._memory_peak_bytes > limits.memory_bytes or self._unaccepted.over(limits):
            return "memory"
        if self._pids_peak > limits.pids:
            return "pids"
        return "cpu_time" if self._cpu_user_s + self._cpu_system_s >= limits.cpu_time_s else ""

    def next_check_s(self, limits: Limits) -> float:
        """More often where memory is about to run out: it fills by a mebibyte in a millisecond."""
        return _SHORTEST_S if self._memory_bytes * 2 > limits.memory_bytes else _POLL_INTERVAL_S

    def add_reaped(self, cpu_user_s: float, cpu_system_s: float) -> None:
        """What init's own wait(2) says at the end, for runs too short to sample."""
        self._cpu_user_s = max(self._cpu_user_s, cpu_user_s)
        self._cpu_system_s = max(self._cpu_system_s, cpu_system_s)
        self._pids_peak = max(self._pids_peak, 1)

    def usage(self) -> Usage:
        return Usage(
            self._cpu_user_s,
            self._cpu_system_s,
            self._memory_peak_bytes + self._unaccepted.peak_bytes,
            self._pids_peak,
            0,
            0,
        )

    def _sample(self) -> None:
        init = stat(self._init_pid)  # before its children: one that init reaps meanwhile must not count twice
        processes = {pid: fields for pid in descendants(self._init_pid) if (fields := stat(pid))}
        self._count_cpu(init, processes)
        filled = os.fstatvfs(self._work_fd)
        memory = _memory(processes) + (filled.f_blocks - filled.f_bfree) * filled.f_frsize
        self._memory_bytes = memory
        self._memory_peak_bytes = max(self._memory_peak_bytes, memory)
        self._pids_peak = max(self._pids_peak, sum(int(fields[17]) for fields in processes.values()))

    def _count_cpu(self, init: list[bytes], processes: dict[int, list[bytes]]) -> None:
        """The larger of two sums, each of which misses something: by wait(2), those whom nobody waited for (SIGCHLD
        ignored); by sighting, what a process did after it was seen last. Init waits for the orphans."""
        waited = [*processes.values(), [b"0"] * 13 + (init or [b"0"] * 15)[13:15]]
        alive = {(pid, fields[19]): (int(fields[11]), int(fields[12])) for pid, fields in processes.items()}
        for pid, started in self._alive.keys() - alive.keys():
            fields = stat(pid)
            if fields[19:20] == [started]:  # a list of children may miss one while others end (proc_tid_children(5))
                alive[pid, started] = int(fields[11]), int(fields[12])
                continue
            user, system = self._alive[pid, started]
            self._gone_user += user
            self._gone_system += system
        self._alive = alive
        seen_user = self._gone_user + sum(user for user, _ in alive.values())
        seen_system = self._gone_system + sum(system for _, system in alive.values())
        user = max(seen_user, sum(int(fields[11]) + int(fields[13]) for fields in waited))
        system = max(seen_system, sum(int(fields[12]) + int(fields[14]) for fields in waited))
        self._cpu_user_s = max(self._cpu_user_s, user / _TICKS)
        self._cpu_system_s = max(self._cpu_system_s, system / _TICKS)


def descendants(pid: int) -> list[int]:
    """Pids of all processes below ``pid``."""
    found: list[int] = []
    queue = [pid]
    while queue:
        parent = queue.pop()
        try:
            threads = os.listdir(f"/proc/{parent}/task")
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended between two reads
        for thread in threads:
            children = _children(parent, thread)
            found += children
            queue += children
    return found


def _children(pid: int, thread: str) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
            return [int(child) for child in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []  # this thread has ended; the others' children count all the same


def _memory(processes: dict[int, list[bytes]]) -> int:
    """Bytes of all together. A process can have so many mappings that adding them up takes long: what is left when the
    look has cost too much counts by its resident set, which is known, if too high."""
    enough = time.thread_time() + _LOOK_S
    total = 0
    for pid, fields in processes.items():
        proportional = _proportional_set(pid) if time.thread_time() < enough else 0
        total += proportional or int(fields[21]) * _PAGE
    return total


def _proportional_set(pid: int) -> int:
    """Bytes, shared pages divided among their users: after a fork, resident sets would count every page twice."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return 0
