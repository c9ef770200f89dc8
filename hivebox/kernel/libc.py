"""libc: errno as OSError, and system calls that libc does not wrap."""

from __future__ import annotations

import os

from hivebox.kernel import foreign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hivebox.kernel.foreign import Argument

_LIBC = foreign.load(None)
_MACHINE = os.uname().machine
# Numbers above 423 are the same on every architecture; only the older ones differ.
_NUMBERS = {
    "x86_64": {"clone": 56, "pivot_root": 155, "capset": 126, "seccomp": 317, "execveat": 322},
    "aarch64": {"clone": 220, "pivot_root": 41, "capset": 91, "seccomp": 277, "execveat": 281},
}.get(_MACHINE, {}) | {
    "open_tree": 428,
    "close_range": 436,
    "move_mount": 429,
    "openat2": 437,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}


def _checked(result: int, name: str, detail: str) -> int:
    if result == -1:
        number = foreign.get_errno()
        raise OSError(number, os.strerror(number), f"{name}({detail})")
    return result


def syscall(name: str, *arguments: Argument, detail: str = "", locked: bool = False) -> int:
    """syscall(2) by name; ``locked`` as in foreign.call. Raises OSError (ENOSYS on an architecture whose number is not
    known here)."""
    number = _NUMBERS.get(name)
    if number is None:
        raise OSError(38, os.strerror(38), f"{name}({_MACHINE})")
    return _checked(foreign.call(_LIBC, "syscall", foreign.Long, number, *arguments, locked=locked), name, detail)


def call(name: str, *arguments: Argument, detail: str = "") -> int:
    """A libc function that answers -1 and errno on failure."""
    return _checked(foreign.call(_LIBC, name, foreign.Int, *arguments), name, detail)
