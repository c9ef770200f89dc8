"""The run's control group and resource limits. Every value is finite."""

from __future__ import annotations

import os
import resource

from hivebox.errors import HiveboxError
from hivebox.kernel.cgroup import Cgroup, CgroupV1
from hivebox.policy.model import Limits as Values
from hivebox.steps.step import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SLACK = 16
_STACK = 8 << 20


class CgroupStep(Step):
    """Memory, processes, CPU. The payload's process joins, not init: what is metered is the script's tree alone."""

    name = "cgroup"

    def __init__(self, values: Values, run_id: str) -> None:
        self._values = values
        self._run_id = run_id
        self.group: Cgroup | None = None
        self.refused = ""

    def describe(self) -> dict[str, Any]:
        backend = self.group.backend if self.group else "poll"
        plain: dict[str, Any] = {"backend": backend}
        if self.refused:
            plain["reason"] = self.refused
        return plain

    def prepare(self) -> None:
        values = self._values
        try:
            self.group = CgroupV1(self._run_id, memory_bytes=values.memory_bytes, pids=values.pids, cpus=values.cpus)
        except HiveboxError as error:
            if values.without_cgroup == "refuse":
                raise
            if values.cpus:
                raise HiveboxError("cannot limit CPU bandwidth", error.why, error.hint) from error
            self.refused = error.why

    def child_fds(self) -> tuple[int, ...]:
        return self.group.join_fds if self.group else ()

    def apply_payload(self) -> None:
        for handle in self.child_fds():
            os.write(handle, b"0")
            os.close(handle)

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
            # Init counts too. With a cgroup, which counts exactly and tells us, this is only the second lock.
            "NPROC": values.pids + (_SLACK if self._cgroup.group else 1),
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

    def apply_payload(self) -> None:
        for name, value in self._table().items():
            kind = getattr(resource, f"RLIMIT_{name}")
            hard = resource.getrlimit(kind)[1]
            finite = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (finite, finite))
