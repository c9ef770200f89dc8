"""The disks behind paths, as the io and blkio controllers name them: ``major:minor`` of whole disks.

A file system on a block device has that device's number. One without a device of its own has an anonymous number, with
major 0: tmpfs and overlay, whose I/O is another's, and btrfs, which spreads it over many. Its rate cannot be limited,
and so a script that may reach it must not run under such a limit.
"""

from __future__ import annotations

import os

from hivebox.errors import HiveboxError
from hivebox.kernel import mountinfo
from hivebox.kernel.cgroup import read


def disks(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Of every path and of what is mounted below it, which a grant of it includes. Raises HiveboxError, OSError."""
    mounts = mountinfo.read()
    found: dict[str, None] = {}
    for path in paths:
        found[_disk(path, os.stat(path).st_dev)] = None
        for mounted in mounts:
            if mounted.point.startswith(path.rstrip("/") + "/"):
                found[_disk(mounted.point, _number(mounted), mounted.kind)] = None
    return tuple(found)


def _number(mounted: mountinfo.Mounted) -> int:
    major, minor = mounted.device.split(":")
    return os.makedev(int(major), int(minor))


def _disk(path: str, device: int, kind: str = "") -> str:
    """A partition's I/O is limited on the disk it is part of."""
    number = f"{os.major(device)}:{os.minor(device)}"
    entry = f"/sys/dev/block/{number}"
    if not os.path.exists(entry):
        kind = kind or next((each.kind for each in reversed(mountinfo.read()) if _number(each) == device), "unknown")
        raise HiveboxError(
            f"cannot limit the disk I/O of {path}",
            f"its file system ({kind}, device {number}) is on no disk of its own, so there is nothing to limit it by",
            "grant paths on a disk (not tmpfs, overlay or btrfs), or take io_* out of the limits",
        )
    if os.path.exists(f"{entry}/partition"):
        return read(f"{entry}/../dev").strip()
    return number
