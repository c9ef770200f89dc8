"""What is run: the program, its arguments and its working directory, as seen inside the sandbox."""

from __future__ import annotations

import os
import stat

from hivebox.errors import HiveboxError
from hivebox.kernel import process
from hivebox.steps.environment import Environment
from hivebox.steps.step import Step
from hivebox.steps.syscalls import Syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_AT_FDCWD = -100
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


class Execute(Step):
    """Finds the program as a shell would (PATH, execute permission) before the filter is loaded, then becomes it."""

    name = "execute"

    def __init__(self, argv: tuple[str, ...], cwd: str, environment: Environment, syscalls: Syscalls | None) -> None:
        self.argv = argv
        self._cwd = cwd
        self._environment = environment
        self._syscalls = syscalls
        self._program = ""

    def describe(self) -> dict[str, Any]:
        return {"argv": list(self.argv), "cwd": self._cwd}

    def confine(self) -> None:
        """Resolve the program. Runs before privileges are dropped and the filter is loaded."""
        os.chdir(self._cwd)
        name = self.argv[0]
        if "/" in name:
            self._program = name
            return
        for directory in self._environment.variables["PATH"].split(":"):
            candidate = f"{directory}/{name}"
            try:
                mode = os.stat(candidate).st_mode
            except OSError:
                continue
            if stat.S_ISREG(mode) and mode & 0o111:
                self._program = candidate
                return
        raise HiveboxError(
            f"cannot run {name}",
            f"there is no such program in the sandbox's PATH ({self._environment.variables['PATH']})",
            _where_it_is(name),
            exit_code=_NOT_FOUND,
        )

    def exec(self) -> None:
        """execveat(2) with the run's magic. Only returns by raising HiveboxError."""
        argv = [os.fsencode(argument) for argument in self.argv]
        envp = [os.fsencode(f"{name}={value}") for name, value in self._environment.variables.items()]
        magic = self._syscalls.magic if self._syscalls else 0
        try:
            process.execveat(_AT_FDCWD, self._program, argv, envp, magic)
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            raise HiveboxError(
                f"cannot run {self._program}",
                f"{error.strerror} ({error.errno})",
                "check that the file, and the interpreter its first line names, exist in the sandbox"
                if missing
                else "check that it is an executable file on an executable mount",
                exit_code=_NOT_FOUND if missing else _NOT_EXECUTABLE,
            ) from error


def _where_it_is(name: str) -> str:
    """Advice that can help here: seen from inside the sandbox, whose profile may be the one to suggest."""
    if name.startswith("python"):
        return "choose a profile with Python: leave -p out, or -p python"
    if name.startswith("node"):
        return "choose a profile with Node.js: -p node"
    if os.path.exists("/bin/sh"):
        return "grant the directory that it is in with --ro, and name it by its path"
    return "choose a profile whose rootfs has it, for example -p shell, or grant its directory with --ro"
