"""The command's own three streams. What is lost on the way out is an error; what cannot be said on stderr must not
change how the command ends."""

from __future__ import annotations

import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO


OUTPUT = "standard output"


def fill() -> None:
    """A caller that closed 0, 1 or 2 must not have one of our own descriptors taken for it. In the place of a closed
    stdout comes one that cannot be written either, so that what is written there is not lost without a word."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        if handle == 1:
            os.close(handle)
            handle = os.open(os.devnull, os.O_RDONLY)  # the lowest number that is free: 1 again
        os.set_inheritable(handle, True)
    os.close(handle)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)
    sys.stdout = _named(sys.stdout)
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)


def _named(given: TextIO | None) -> TextIO:
    """Stdout as it was given, but that its errors can be told from others."""
    raw = io.BufferedWriter(_Output(1, "w", closefd=False))
    encoding, errors = (given.encoding, given.errors) if given else ("utf-8", "strict")
    return io.TextIOWrapper(raw, encoding, errors, line_buffering=raw.isatty())


class _Output(io.FileIO):
    """An OSError has its name."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = OUTPUT
            raise


def remark(text: str) -> None:
    """To stderr, which may be full or gone."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        return
