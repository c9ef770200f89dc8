"""libc through ctypes: errno as OSError, and system calls that libc does not wrap."""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

_MACHINE = os.uname().machine
# Numbers above 423 are the same on every architecture; only the older ones differ.
_NUMBERS = {
    "x86_64": {"clone": 56, "pivot_root": 155, "capset": 126, "seccomp": 317, "execveat": 322},
    "aarch64": {"clone": 220, "pivot_root": 41, "capset": 91, "seccomp": 277, "execveat": 281},
}.get(_MACHINE, {}) | {
    "open_tree": 428,
    "move_mount": 429,
    "openat2": 437,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}

TYPE_CHECKING = False
if TYPE_CHECKING:
    Argument = int | bytes | ctypes.Array[ctypes.c_char] | ctypes.Structure | None


def _convert(argument: Argument) -> object:
    if isinstance(argument, int):
        return ctypes.c_long(argument)
    if isinstance(argument, ctypes.Structure):
        return ctypes.byref(argument)
    return argument


def _checked(result: int, name: str, detail: str) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"{name}({detail})")
    return result


def syscall(name: str, *arguments: Argument, detail: str = "") -> int:
    """syscall(2) by name. Raises OSError (ENOSYS on an architecture whose number is not known here)."""
    number = _NUMBERS.get(name)
    if number is None:
        raise OSError(38, os.strerror(38), f"{name}({_MACHINE})")
    return _checked(_libc.syscall(ctypes.c_long(number), *map(_convert, arguments)), name, detail)


def call(name: str, *arguments: Argument, detail: str = "") -> int:
    """A libc function that answers -1 and errno on failure."""
    return _checked(getattr(_libc, name)(*map(_convert, arguments)), name, detail)
