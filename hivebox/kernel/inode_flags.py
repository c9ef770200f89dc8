"""Append-only files: FS_IOC_SETFLAGS, as chattr(1) does it (ioctl_iflags(2)). Needs CAP_LINUX_IMMUTABLE and a file
system
that has the flag."""

from __future__ import annotations

import fcntl
import struct

_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS = 0x80086601, 0x40086602
_APPEND_FL = 0x20


def set_append_only(fd: int, *, on: bool) -> None:
    """Raises OSError where it cannot be done: EPERM, ENOTTY, EOPNOTSUPP."""
    flags = int.from_bytes(fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(8))[:4], "little")
    wanted = flags | _APPEND_FL if on else flags & ~_APPEND_FL
    if wanted != flags:
        fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("q", wanted))


def is_append_only(fd: int) -> bool:
    """False also where the file system has no flags."""
    try:
        return bool(fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(8))[0] & _APPEND_FL)
    except OSError:
        return False
