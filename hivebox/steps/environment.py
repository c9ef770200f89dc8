"""The environment, standard streams and session of the payload: an allowlist, nothing inherited."""

from __future__ import annotations

import os

from hivebox.frozen import Frozen
from hivebox.policy.model import Environment as Values
from hivebox.steps.step import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_FIXED = {"HOME": "/tmp", "USER": "hive", "LOGNAME": "hive", "LANG": "C.UTF-8", "TMPDIR": "/tmp"}  # noqa: S108


class Environment(Step):
    """Fixed variables, then the policy's, then names passed on from the caller. The values passed on are not in
    ``describe``: a record must not spread a secret."""

    name = "environment"

    def __init__(self, search_path: str, values: Values, environ: Mapping[str, str]) -> None:
        self._assigned = values.set
        self._passed = tuple(name for name in values.passed if name in environ)
        self.variables = {
            **_FIXED,
            "PATH": search_path,
            **dict(values.set),
            **{name: environ[name] for name in self._passed},
        }

    def describe(self) -> dict[str, Any]:
        return {"set": sorted({*_FIXED, "PATH", *(name for name, _ in self._assigned)}), "passed": list(self._passed)}


class Sinks(Frozen):
    """The caller's ends: descriptors that stay the caller's, None to keep the bytes; ``stdin_fd`` -1 for none."""

    stdin_fd: int = -1
    stdout_fd: int | None = 1
    stderr_fd: int | None = 2


class Streams(Step):
    """0, 1 and 2 are pipes to the supervisor: never the caller's terminal (TIOCSTI), files (reopened through /proc
    for writing) or sockets. A session of its own leaves no controlling terminal."""

    name = "streams"

    def __init__(self, *, stdin: bool, output_size_bytes: int) -> None:
        """``output_size_bytes``: of both outputs together, as the supervisor lets through."""
        self._stdin = stdin
        self._output_size_bytes = output_size_bytes
        self.child_ends: tuple[int, int, int] = (-1, -1, -1)
        self.supervisor_ends: tuple[int, int, int] = (-1, -1, -1)

    def describe(self) -> dict[str, Any]:
        kinds = {"stdin": "pipe" if self._stdin else "null", "stdout": "pipe", "stderr": "pipe"}
        return {**kinds, "output_size_bytes": self._output_size_bytes}

    def prepare(self) -> None:
        if self._stdin:
            stdin_child, stdin_supervisor = os.pipe()
        else:
            stdin_child, stdin_supervisor = -1, -1
        stdout_supervisor, stdout_child = os.pipe()
        stderr_supervisor, stderr_child = os.pipe()
        self.child_ends = (stdin_child, stdout_child, stderr_child)
        self.supervisor_ends = (stdin_supervisor, stdout_supervisor, stderr_supervisor)

    def child_fds(self) -> tuple[int, ...]:
        return tuple(handle for handle in self.child_ends if handle >= 0)

    def attach(self, pid: int) -> None:  # noqa: ARG002
        for handle in self.child_fds():
            os.close(handle)
        self.child_ends = (-1, -1, -1)

    def take(self) -> tuple[int, int, int]:
        """The supervisor's ends (stdin -1 without one); from here on the caller closes them."""
        taken = self.supervisor_ends
        self.supervisor_ends = (-1, -1, -1)
        return taken

    def confine(self) -> None:
        os.setsid()
        null_fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        for number, handle in enumerate(self.child_ends):
            os.dup2(handle if handle >= 0 else null_fd, number, inheritable=True)

    def release(self) -> None:
        for handle in (*self.child_ends, *self.supervisor_ends):
            if handle >= 0:
                os.close(handle)
        self.child_ends = self.supervisor_ends = (-1, -1, -1)
