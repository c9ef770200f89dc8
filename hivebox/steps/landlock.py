"""Landlock as a second, independent lock on the same allowlist: a mistake in the mounts is then not an escape."""

from __future__ import annotations

import os

from hivebox.kernel import landlock
from hivebox.policy.model import Mount
from hivebox.steps.step import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_READ = landlock.READ_FILE | landlock.READ_DIR | landlock.EXECUTE
_CHANGE = (
    landlock.WRITE_FILE
    | landlock.REMOVE_DIR
    | landlock.REMOVE_FILE
    | landlock.MAKE_DIR
    | landlock.MAKE_REG
    | landlock.MAKE_SYM
    | landlock.REFER
    | landlock.TRUNCATE
)
_SPECIAL = landlock.MAKE_SOCK | landlock.MAKE_FIFO
_DEVICE = landlock.READ_FILE | landlock.WRITE_FILE


class Landlock(Step):
    """Read and execute in the root, everything but device nodes in the sandbox's own tmpfs. A read-write grant is
    a directory of the host: no FIFO and no socket may be left there, since a host program that opens one hangs or
    is spoken to, so none can be made in what holds such a grant either. The work directory is executable
    only when the policy says so."""

    name = "landlock"

    def __init__(self, mounts: tuple[Mount, ...], units: tuple[str, ...], *, work_exec: bool) -> None:
        self._mounts = mounts
        self._units = units
        self._work_exec = work_exec
        self.abi = landlock.abi()

    @property
    def available(self) -> bool:
        """Where the kernel has no Landlock the plan leaves this step out, or stops, as the policy says."""
        return self.abi > 0

    def describe(self) -> dict[str, Any]:
        return {"abi": self.abi, "rules": [[path, hex(rights)] for path, rights in self._rules()]}

    def _rules(self) -> tuple[tuple[str, int], ...]:
        known = landlock.handled(self.abi)
        own = (_READ if self._work_exec else _READ & ~landlock.EXECUTE) | _CHANGE | _SPECIAL
        rules = [(unit, _READ) for unit in self._units]
        rules += [("/etc", _READ), ("/script", _READ), ("/proc", _READ & ~landlock.EXECUTE)]
        rules += [("/", landlock.READ_DIR), ("/dev", _DEVICE | landlock.READ_DIR)]
        rules += [(path, own) for path in ("/work", "/tmp", "/dev/shm")]  # noqa: S108
        rules.append(("/dev/pts", landlock.IOCTL_DEV))
        for grant in self._mounts:
            rights = {"read_only": _READ, "read_write": _READ | _CHANGE, "overlay": _READ | _CHANGE | _SPECIAL}
            rules.append((grant.dest, rights[grant.mode]))
        rules = [(path, rights & ~_SPECIAL if self._holds_host_directory(path) else rights) for path, rights in rules]
        return tuple((path, rights & known) for path, rights in rules if rights & known)

    def _holds_host_directory(self, path: str) -> bool:
        """A rule is for everything below its path, other mounts included: a grant at /tmp/x would get /tmp's rights."""
        grants = (grant.dest for grant in self._mounts if grant.mode == "read_write")
        return any(dest.startswith(path.rstrip("/") + "/") for dest in grants)

    def confine(self) -> None:
        ruleset_fd = landlock.create_ruleset(self.abi)
        for path, rights in self._rules():
            if os.path.lexists(path):
                landlock.add_path(ruleset_fd, path, rights)
        landlock.restrict_self(ruleset_fd)
        os.close(ruleset_fd)
