"""The run's control group and resource limits. Every value is finite."""

from __future__ import annotations

import os
import resource

from hivebox.errors import HiveboxError
from hivebox.kernel import cgroup
from hivebox.kernel.cgroup import WAYS, Cgroup, GroupLimits, IoLimits
from hivebox.policy.model import Limits as Values
from hivebox.steps.step import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SLACK = 16
_STACK = 8 << 20
_OF_THE_TREE = ("memory_bytes", "pids", "cpu_time_s", "cpus")


class CgroupStep(Step):
    """Memory, processes, CPU. The payload's process joins, not init: what is metered is the script's tree alone."""

    name = "cgroup"

    def __init__(self, values: Values, run_id: str, paths: tuple[str, ...] = ()) -> None:
        """``paths``: those of the host that the script reaches, whose disks ``limits.io_*`` are about."""
        self._values = values
        self._run_id = run_id
        self._paths = paths
        self._io = IoLimits()
        self.ways = WAYS
        self.group: Cgroup | None = None
        self.refused = ""

    def describe(self) -> dict[str, Any]:
        plain: dict[str, Any] = {name: getattr(self._values, name) for name in _OF_THE_TREE}
        if self._io.wanted:
            plain["io"] = self._io._asdict()
        if self.refused:
            return {**plain, "enforced": False, "backend": "poll", "reason": self.refused}
        if self.group is None:  # before ``prepare``
            return {**plain, "ways": list(self.ways)}
        if self.group.refused:
            plain["passed_over"] = dict(self.group.refused)
        return {**plain, "backend": self.group.backend, "group": self.group.place}

    def prepare(self) -> None:
        values = self._values
        self._io = self._io_limits()
        try:
            limits = GroupLimits(values.memory_bytes, values.pids, values.cpus, self._io)
            self.group = cgroup.make(self._run_id, limits, self.ways)
        except HiveboxError as error:
            self._do_without(error)

    def _io_limits(self) -> IoLimits:
        rates = [getattr(self._values, f"io_{field}") for field in IoLimits._fields if field != "devices"]
        if not any(rates):
            return IoLimits()
        from hivebox.kernel.cgroup.devices import disks  # noqa: PLC0415  # few runs limit disk I/O

        return IoLimits(*rates, disks(self._paths))

    def attach(self, pid: int) -> None:
        if self.group:
            try:
                self.group.attach(pid)
            except HiveboxError as error:
                self.release()
                self._do_without(error)

    def _do_without(self, error: HiveboxError) -> None:
        """Raises where the policy wants a control group, or what only one can do."""
        values = self._values
        if values.without_cgroup == "refuse":
            raise error
        for wanted, what in ((values.cpus, "CPU bandwidth"), (self._io.wanted, "disk I/O")):
            if wanted:
                raise HiveboxError(f"cannot limit {what}", f"{error.what}: {error.why}", error.hint) from error
        self.refused = f"{error.what}: {error.why}"

    def child_fds(self) -> tuple[int, ...]:
        return self.group.join_fds if self.group and not self.group.late else ()

    def late_fds(self) -> tuple[int, ...]:
        """In the supervisor, after ``attach``: what goes to init with the word that it may go on."""
        return self.group.join_fds if self.group and self.group.late else ()

    def accept(self, late_fds: tuple[int, ...]) -> None:
        """In init: the supervisor's ``late_fds``. None where a group was hoped for means that there is none."""
        if self.group and self.group.late:
            self.group.join_fds = late_fds
            self.group = self.group if late_fds else None

    @property
    def ends_with_init(self) -> bool:
        """Whether the group may be gone as soon as init is."""
        return self.group is not None and self.group.late

    def confine(self) -> None:
        for handle in self.join_fds():
            os.write(handle, b"0")
            os.close(handle)

    def join_fds(self) -> tuple[int, ...]:
        """In the sandbox: what the payload joins by, and init closes when it has forked."""
        return self.group.join_fds if self.group else ()

    def reap(self) -> None:
        """In the supervisor, while it would only wait: remove what killed ones left."""
        if self.group:
            self.group.reap()

    def release(self) -> None:
        if self.group:
            self.group.close()
            self.group = None


class Rlimits(Step):
    """Per process, by setrlimit(2). Where there is no cgroup they also bound processes (per user namespace since
    Linux 5.14) and each process's writable memory; the tree's sums are then polled (supervise/meter.py)."""

    name = "rlimits"

    def __init__(self, values: Values, cgroup: CgroupStep) -> None:
        self._values = values
        self._cgroup = cgroup

    def _table(self) -> dict[str, int]:
        values = self._values
        table = {
            "CORE": 1,  # not 0: that would still run a handler named in core_pattern, as root (core(5))
            "CPU": int(values.cpu_time_s) + 1,
            "FSIZE": values.file_size_bytes,
            "NOFILE": values.open_files,
            # Init counts too. With a cgroup, which counts exactly and tells us, this is only the second lock; without,
            # the kernel would refuse and tell nobody: so one more is let in, whom the poll sees.
            "NPROC": values.pids + (_SLACK if self._cgroup.group else 2),
            "MSGQUEUE": 0,
            "MEMLOCK": 64 << 10,
            "SIGPENDING": 1024,
            "NICE": 0,
            "RTPRIO": 0,
        }
        if self._cgroup.group is None:
            # Above the limit, so that the poll stops the run and names the cause first; thread stacks count as data.
            table["DATA"] = values.memory_bytes * 5 // 4 + values.pids * _STACK
        return table

    def describe(self) -> dict[str, Any]:
        return {name.lower(): value for name, value in self._table().items()}

    def confine(self) -> None:
        for name, value in self._table().items():
            kind = getattr(resource, f"RLIMIT_{name}")
            hard = resource.getrlimit(kind)[1]
            finite = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (finite, finite))
