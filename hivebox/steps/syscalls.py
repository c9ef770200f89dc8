"""The seccomp program: loaded last, by the process that becomes the payload."""

from __future__ import annotations

import os
from typing import Any

from hivebox.kernel import bpf, seccomp
from hivebox.policy.model import Syscalls as Values
from hivebox.steps.step import Step


class Syscalls(Step):
    """Default-deny. ``magic`` is drawn for each run and lets exactly one execveat(2) through, the launcher's own:
    the payload never sees the value, so a profile without ``@exec`` has no exec at all."""

    name = "syscalls"

    def __init__(self, values: Values, program: bytes, sha256: str) -> None:
        self._values = values
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

    def prepare(self) -> None:
        self.program = bpf.patch_exec_magic(self.program, self.magic)

    def apply_payload(self) -> None:
        self.notify_fd = seccomp.load(self.program)
