"""The one error shape: what happened, why, what to do."""

from __future__ import annotations

import errno as _errno
import os


class HiveboxError(Exception):
    """A failure of hivebox or of its input, never of the program in the sandbox.

    ``what`` is one clause without a full stop, ``why`` the cause with its source (a path, a call,
    an errno name), ``hint`` what the reader can do about it. ``exit_code`` follows the table in
    docs/profile.md: 125 hivebox could not, 126 not executable, 127 not found.
    """

    def __init__(self, what: str, why: str = "", hint: str = "", *, exit_code: int = 125) -> None:
        super().__init__(what, why, hint)
        self.what = what
        self.why = why
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        lines = [self.what]
        if self.why:
            lines.append(f"why:  {self.why}")
        if self.hint:
            lines.append(f"try:  {self.hint}")
        return "\n".join(lines)


class ProfileError(HiveboxError):
    """Bad input in a profile or policy file; ``why`` ends in file, line, column and a caret."""


def printable(text: str) -> str:
    """One line in which a file name that a script chose cannot speak to the terminal, or forge a line of ours."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def errno_text(number: int) -> str:
    """``13`` -> ``permission denied (EACCES)``."""
    name = _errno.errorcode.get(number, str(number))
    return f"{os.strerror(number).lower()} ({name})"


def from_os_error(what: str, error: OSError, hint: str = "") -> HiveboxError:
    """Wrap an OSError: the path (if any) and the errno go into ``why``. Use with ``raise ... from``."""
    where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
    return HiveboxError(what, where + errno_text(error.errno or 0), hint)
