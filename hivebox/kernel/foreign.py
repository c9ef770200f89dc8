"""Calling C functions: the part of ``ctypes`` that hivebox needs, from the C module beneath it.

``import ctypes`` costs a millisecond more than this (docs/performance.md#cold-start). Off the run path use ``ctypes``.
"""

from __future__ import annotations

from _ctypes import (
    FUNCFLAG_CDECL,
    FUNCFLAG_PYTHONAPI,
    FUNCFLAG_USE_ERRNO,
    CFuncPtr,
    Structure,
    _SimpleCData,
    byref,
    dlopen,
    dlsym,
    get_errno,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _ctypes import Array
    from typing import Any

    Argument = int | bytes | Structure | Array[Any] | _SimpleCData[Any] | None

_RTLD_NOW = 2

__all__ = ["Char", "Int", "Long", "Pointer", "Short", "String", "Structure", "api", "call", "get_errno", "load"]


class Char(_SimpleCData):  # type: ignore[type-arg]  # not generic at run time; this holds for all of them
    """char"""

    _type_ = "c"


class Short(_SimpleCData):  # type: ignore[type-arg]
    """unsigned short"""

    _type_ = "H"


class Int(_SimpleCData):  # type: ignore[type-arg]
    """int"""

    _type_ = "i"


class Long(_SimpleCData):  # type: ignore[type-arg]
    """long, and any integer argument that fits one register: size_t, int, mode_t."""

    _type_ = "l"


class Pointer(_SimpleCData):  # type: ignore[type-arg]
    """void *"""

    _type_ = "P"


class String(_SimpleCData):  # type: ignore[type-arg]
    """char *"""

    _type_ = "z"


class _Function(CFuncPtr):
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO


class _LockedFunction(CFuncPtr):
    """Called without letting go of the interpreter's lock."""

    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO | FUNCFLAG_PYTHONAPI


def load(name: str | None) -> int:
    """dlopen(3); None is the program itself with libc. Raises OSError."""
    return dlopen(name, _RTLD_NOW)  # type: ignore[arg-type]  # typeshed: a name


def _convert(argument: Argument) -> object:
    if isinstance(argument, int):
        return Long(argument)
    return byref(argument) if isinstance(argument, Structure | Long) else argument


def call(library: int, name: str, result: type[_SimpleCData[Any]], *arguments: Argument, locked: bool = False) -> Any:
    """The function ``name`` with these arguments: integers in whole registers, structures and Long by reference.

    ``locked`` keeps other threads of this interpreter from running meanwhile. Raises OSError when the library has no
    such function. What the call left in errno is ``get_errno()``."""
    function = (_LockedFunction if locked else _Function)(dlsym(library, name))
    function.restype = result
    return function(*map(_convert, arguments))


def api(name: str) -> None:
    """A function of the interpreter's own C API without arguments or result, with the lock held."""
    call(load(None), name, Int, locked=True)
