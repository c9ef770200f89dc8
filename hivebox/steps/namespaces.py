"""Own user, mount, PID, network, IPC, UTS and cgroup namespaces."""

from __future__ import annotations

from hivebox.kernel import process
from hivebox.steps.step import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HOSTNAME = "hive"
_AT_CLONE = (
    ("user", process.CLONE_NEWUSER),
    ("mount", process.CLONE_NEWNS),
    ("pid", process.CLONE_NEWPID),
    ("network", process.CLONE_NEWNET),
    ("ipc", process.CLONE_NEWIPC),
    ("uts", process.CLONE_NEWUTS),
)


class Namespaces(Step):
    """Six are made by clone(2) itself. The cgroup namespace comes last, in the payload, because its root is the
    group that the process is in at that moment: the run's own."""

    name = "namespaces"

    def __init__(self, without: frozenset[str] = frozenset()) -> None:
        self.kinds = tuple(kind for kind, _ in (*_AT_CLONE, ("cgroup", 0)) if kind not in without)

    @property
    def clone_flags(self) -> int:
        """CLONE_NEW* for clone(2)."""
        return sum(flag for kind, flag in _AT_CLONE if kind in self.kinds)

    def describe(self) -> dict[str, Any]:
        return {"kinds": list(self.kinds), "hostname": HOSTNAME}

    def set_up(self) -> None:
        if "uts" in self.kinds:
            process.sethostname(HOSTNAME)

    def confine(self) -> None:
        if "cgroup" in self.kinds:
            process.unshare(process.CLONE_NEWCGROUP)
