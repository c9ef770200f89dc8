"""/proc/self/mountinfo (proc_pid_mountinfo(5)): what is mounted where, and what part of which file system a path is.

The same directory can be reached by several names: a bind mount, a container's or a chroot's view, a disk that is
mounted twice. Two paths are the same when their ``Place`` is: the file system's device number and the path in it.
"""

from __future__ import annotations

import os

from hivebox.frozen import Frozen


class Mounted(Frozen):
    """``device`` is major:minor of the file system (on btrfs not the st_dev of its files), ``root`` the path in it that
    is mounted on ``point``, ``kind`` its type."""

    mount_id: int
    device: str
    root: str
    point: str
    kind: str


class Place(Frozen):
    """``path`` is absolute in the file system ``device``."""

    device: str
    path: str


def read() -> tuple[Mounted, ...]:
    """Every mount of this namespace, parents before children. Names are bytes to the kernel: any of them decodes."""
    with open("/proc/self/mountinfo", "rb") as file:
        return tuple(map(_parse, file.read().splitlines()))


def _parse(line: bytes) -> Mounted:
    fields, _, rest = line.partition(b" - ")
    mount_id, _, device, root, point = fields.split(b" ")[:5]
    return Mounted(int(mount_id), device.decode(), _unescape(root), _unescape(point), rest.split(b" ")[0].decode())


def _unescape(name: bytes) -> str:
    r"""``a\040b`` -> ``a b``: so the kernel writes space, tab, newline and the backslash itself."""
    head, *rest = name.split(b"\\")
    return os.fsdecode(head + b"".join(bytes((int(part[:3], 8),)) + part[3:] for part in rest))


def holder(mounts: tuple[Mounted, ...], path_fd: int) -> Mounted | None:
    """The mount on which an open file lies; None when it is not in this namespace any more."""
    with open(f"/proc/self/fdinfo/{path_fd}", "rb") as file:
        mount_id = next(int(line.split()[1]) for line in file if line.startswith(b"mnt_id:"))
    return next((mounted for mounted in mounts if mounted.mount_id == mount_id), None)


def place(mounted: Mounted, path: str) -> Place:
    """Of a canonical path that lies on this mount."""
    return Place(mounted.device, os.path.normpath(os.path.join(mounted.root, os.path.relpath(path, mounted.point))))


def existing_place(mounts: tuple[Mounted, ...], path: str) -> Place | None:
    """Of a canonical path, of which the last parts need not exist yet."""
    existing = path
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    handle = os.open(existing, os.O_PATH | os.O_CLOEXEC)
    try:
        mounted = holder(mounts, handle)
    finally:
        os.close(handle)
    return place(mounted, path) if mounted else None
