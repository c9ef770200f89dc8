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
_ENOSYS = 38


class Syscalls(Step):
    """Default-deny. ``magic`` is drawn for each run and lets exactly one execveat(2) through, the launcher's own:
    the payload never sees the value, so a profile without ``@exec`` has no exec at all.

    What only a control group could count is not to be had without one: memory files, which a process can keep where
    nobody sees them (in a socket's queue, or by not being dumpable), and System V segments and queues."""

    name = "syscalls"

    def __init__(self, values: Values, program: bytes, sha256: str, cgroup: CgroupStep) -> None:
        self._values = values
        self._cgroup = cgroup
        self.program = program
        self.sha256 = sha256
        self._uncounted_program = b""
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
            "memory_files": not self._cgroup.refused,
        }

    def _uncounted(self) -> bool:
        """System V segments and queues are memory of the kernel that no process need hold: only a control group counts
        it, and polling would let it pass."""
        values = self._values
        named = any(call in values.allow for call in _KERNEL_QUEUES)
        denied = all(call in values.deny for call in _KERNEL_QUEUES)
        return self._cgroup.group is None and ("@ipc" in values.groups or named) and not denied

    def prepare(self) -> None:
        self.program = bpf.patch_exec_magic(self.program, self.magic)
        if self._cgroup.group is None or self._cgroup.group.late:
            from hivebox.policy.syscall_numbers import numbers  # noqa: PLC0415  # a run with a group needs none

            memfd_create = numbers(os.uname().machine)["memfd_create"]
            self._uncounted_program = bpf.refuse_call(self.program, memfd_create, _ENOSYS)

    def attach(self, pid: int) -> None:  # noqa: ARG002  # by now it is known whether there is a group
        if self._uncounted():
            raise HiveboxError(
                "cannot limit the memory of System V segments and queues",
                "the profile grants them (@ipc), and without a control group nothing counts them",
                "delegate a control group to this user (docs/install.md#cgroups), or take @ipc out of the profile",
            )

    def confine(self) -> None:
        self.notify_fd = seccomp.load(self.program if self._cgroup.group else self._uncounted_program)
