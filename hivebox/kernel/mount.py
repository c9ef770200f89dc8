"""mount(2) and the descriptor-based mount API of Linux 5.2 and later (open_tree, move_mount, mount_setattr)."""

from __future__ import annotations

import os
import struct

from hivebox.kernel.libc import call, syscall

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
MNT_DETACH = 2

MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

_AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOVE_MOUNT_T_EMPTY_PATH = 0x40

_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH, _RESOLVE_IN_ROOT = 2, 4, 8, 0x10
_RESOLVE_NO_XDEV = 1

_OPEN_HOW = struct.Struct("=3Q")  # struct open_how: flags, mode, resolve
_MOUNT_ATTR = struct.Struct("=4Q")  # struct mount_attr: attr_set, attr_clr, propagation, userns_fd


def mount(source: str, target: str, fstype: str, flags: int, data: str = "") -> None:
    """mount(2)."""
    encoded = [os.fsencode(text) for text in (source, target, fstype)]
    call("mount", *encoded, flags, data.encode() or None, detail=f"{fstype or source} on {target}")


def umount2(target: str, flags: int) -> None:
    """umount2(2)."""
    call("umount2", os.fsencode(target), flags, detail=target)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    syscall("pivot_root", os.fsencode(new_root), os.fsencode(put_old), detail=new_root)


def _openat2(dir_fd: int, path: str, flags: int, mode: int, resolve: int) -> int:
    how = _OPEN_HOW.pack(flags | os.O_CLOEXEC, mode, resolve)
    return syscall("openat2", dir_fd, os.fsencode(path), how, len(how), detail=path)


def open_no_symlinks(path: str, flags: int, mode: int = 0) -> int:
    """openat2(2) of a path that may contain no symbolic link at all: a tenant who swaps a component for a link between
    check and use gets ELOOP, not another file. The caller closes the descriptor."""
    return _openat2(_AT_FDCWD, path, flags, mode, _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS)


def open_in_root(root_fd: int, path: str, flags: int, mode: int = 0) -> int:
    """openat2(2) below ``root_fd``: no symbolic link, no ``..`` above the root. The caller closes it."""
    return _openat2(root_fd, path, flags, mode, _RESOLVE_IN_ROOT | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS)


def open_beneath(dir_fd: int, path: str, flags: int) -> int:
    """openat2(2) strictly beneath ``dir_fd`` on the same mount, following nothing. The caller closes it."""
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_XDEV
    return _openat2(dir_fd, path, flags | os.O_NOFOLLOW, 0, resolve)


def open_tree(path_fd: int) -> int:
    """open_tree(2): a detached copy of the mount subtree at ``path_fd``. Recursive, since a namespace made by an
    ordinary user may not split locked mounts. The caller closes it."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE
    return syscall("open_tree", path_fd, b"", flags, detail=f"fd {path_fd}")


def move_mount(mount_fd: int, target_fd: int) -> None:
    """move_mount(2): attach a detached mount on the object that ``target_fd`` refers to."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
    syscall("move_mount", mount_fd, b"", target_fd, b"", flags, detail=f"fd {target_fd}")


def mount_setattr(mount_fd: int, attr_set: int, *, recursive: bool = True, userns_fd: int = 0) -> None:
    """mount_setattr(2) on the mount at ``mount_fd``, which also becomes private: a copy of a shared mount would carry
    what is mounted in the sandbox to the host, and the reverse. ``userns_fd`` goes with MOUNT_ATTR_IDMAP."""
    attr = _MOUNT_ATTR.pack(attr_set, 0, MS_PRIVATE, userns_fd)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscall("mount_setattr", mount_fd, b"", flags, attr, len(attr), detail=f"fd {mount_fd}")
