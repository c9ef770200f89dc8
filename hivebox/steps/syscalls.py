"""The seccomp program: loaded last, by the process that becomes the payload."""

from __future__ import annotations

import os

from hivebox.errors import HiveboxError
from hivebox.kernel import bpf, seccomp
from hivebox.policy.model import Syscalls as Values
from hivebox.steps.limits import CgroupStep
from hivebox.steps.step import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KERNEL_QUEUES = ("shmget", "msgget", "semget")


class Syscalls(Step):
    """Default-deny. ``magic`` is drawn for each run and lets exactly one execveat(2) through, the launcher's own:
    the payload never sees the value, so a profile without ``@exec`` has no exec at all."""

    name = "syscalls"

    def __init__(self, values: Values, program: bytes, sha256: str, cgroup: CgroupStep) -> None:
        self._values = values
        self._cgroup = cgroup
        self.program = program
        self.sha256 = sha256
        self.magic = int.from_bytes(os.urandom(8), "little")
        self.notify_fd = -1

    def describe(self) -> dict[str, Any]:
        return {
            "groups": list(self._values.groups),
            "allow": list(self._values.allow),
            "deny": list(self._values.deny),
            "sha256": self.sha256,
            "instructions": len(self.program) // 8,
            "kill_after": self._values.kill_after,
        }

    def _uncounted(self) -> bool:
        """System V segments and queues are memory of the kernel that no process need hold: only a control group counts
        it, and polling would let it pass."""
        values = self._values
        named = any(call in values.allow for call in _KERNEL_QUEUES)
        denied = all(call in values.deny for call in _KERNEL_QUEUES)
        return self._cgroup.group is None and ("@ipc" in values.groups or named) and not denied

    def prepare(self) -> None:
        if self._uncounted():
            raise HiveboxError(
                "cannot limit the memory of System V segments and queues",
                "the profile grants them (@ipc), and without a control group nothing counts them",
                "delegate a control group to this user (docs/install.md#cgroups), or take @ipc out of the profile",
            )
        self.program = bpf.patch_exec_magic(self.program, self.magic)

    def confine(self) -> None:
        self.notify_fd = seccomp.load(self.program)
