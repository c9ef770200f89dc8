"""Reading files of the host whose directory may belong to somebody else, who may change it meanwhile."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from hivebox.kernel import mount


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A regular file by its canonical path. No component may have become a link since it was listed: else its owner
    could make a builder with more rights read a file of somebody else. A FIFO neither blocks nor is read.
    Raises OSError."""
    handle = mount.open_no_symlinks(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _check_regular(handle, path)
        yield handle
    finally:
        os.close(handle)


def read_small(path: str, most_bytes: int) -> bytes:
    """As much of a regular file; its directory may be reached through links, the file itself may be none. Raises
    OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _check_regular(handle, path)
        return os.read(handle, most_bytes)
    finally:
        os.close(handle)


def read_all(handle: int, most_bytes: int) -> bytes | None:
    """The whole of an open file, None when it is larger."""
    with open(handle, "rb", closefd=False) as file:
        data = file.read(most_bytes + 1)
    return data if len(data) <= most_bytes else None


def _check_regular(handle: int, path: str) -> None:
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)
