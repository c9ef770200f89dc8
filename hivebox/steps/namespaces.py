"""Own user, mount, PID, network, IPC, UTS and cgroup namespaces."""

from __future__ import annotations

from hivebox.kernel import process
from hivebox.kernel.sysctl import write_sysctl
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
# Counted against the host's user, too, who has 128 inotify instances and 8192 watches on many hosts.
_QUOTAS = {"user_namespaces": 0, "inotify_instances": 16, "inotify_watches": 2048}


class Namespaces(Step):
    """Six are made by clone(2) itself. The cgroup namespace comes last, in the payload, because its root is the
    group that the process is in at that moment: the run's own. Of what the kernel counts by user, the user namespace
    gets a share (proc_sys_user(5))."""

    name = "namespaces"

    def __init__(self, without: frozenset[str] = frozenset()) -> None:
        self._quotas = _QUOTAS
        self.kinds = tuple(kind for kind, _ in (*_AT_CLONE, ("cgroup", 0)) if kind not in without)

    @property
    def clone_flags(self) -> int:
        """CLONE_NEW* for clone(2)."""
        return sum(flag for kind, flag in _AT_CLONE if kind in self.kinds)

    def describe(self) -> dict[str, Any]:
        return {"kinds": list(self.kinds), "hostname": HOSTNAME, "quotas": self._quotas}

    def set_up(self) -> None:
        if "uts" in self.kinds:
            process.sethostname(HOSTNAME)
        for name, most in self._quotas.items():
            write_sysctl(f"user/max_{name}", str(most))

    def confine(self) -> None:
        if "cgroup" in self.kinds:
            process.unshare(process.CLONE_NEWCGROUP)
