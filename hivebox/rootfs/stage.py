"""Copying an inventory into a directory that nobody else sees yet, and the manifest of what was copied."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from typing import TYPE_CHECKING, Any

from hivebox.errors import HiveboxError, errno_text
from hivebox.kernel.write import write_all
from hivebox.rootfs import bytecode
from hivebox.rootfs.hostfile import opened
from hivebox.rootfs.inventory import BYTECODE, DATA, DIR, LINK, Entry, Inventory
from hivebox.units import format_size

if TYPE_CHECKING:
    from hivebox.rootfs.store import Progress

Row = list[Any]  # [path, "dir" | "file" | "link", mode, size, sha256 or link target]

_CHUNK = 1 << 20
# What no environment needs; the build of a hostile one, full of holes, would fill the disk.
_LARGEST_FILE = 4 << 30
_LARGEST_TREE = 16 << 30
_MOST_LINKS = 40
_NO_COPY_RANGE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)
_HINTS = {
    errno.ENOSPC: "free some space there, or set HIVEBOX_STATE to a directory on another disk",
    errno.EDQUOT: "free some space there, or set HIVEBOX_STATE to a directory on another disk",
    errno.EACCES: "make it readable for the user that runs hivebox",
    errno.ELOOP: "it was replaced by a symbolic link during the build; run the command again",
}


def hint_for(number: int) -> str:
    return _HINTS.get(number, "")


def digest_of(rows: list[Row]) -> str:
    """The identity of a tree: sha256 over its rows, sorted by path, as JSON in ASCII without spaces."""
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode("ascii")).hexdigest()


def sha256_at(rows: list[Row], path: str) -> str:
    """Of the file at ``path`` in the tree, through links to files; "" for none."""
    by_path = {row[0]: row for row in rows}
    for _ in range(_MOST_LINKS):
        _, kind, _, _, value = by_path.get(path, ["", "", 0, 0, ""])
        if kind != "link":
            return value if kind == "file" else ""
        path = os.path.normpath(os.path.join(os.path.dirname(path), value))
    return ""


def hash_fd(file_fd: int) -> tuple[int, str]:
    """(size, sha256) of an open file, from its start."""
    digest, size = hashlib.sha256(), 0
    while chunk := os.pread(file_fd, _CHUNK, size):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


def _copy_content(source_fd: int, target_fd: int) -> None:
    """Shares blocks where the file system can (copy_file_range(2)); never a hard link, through which a later edit of
    the source would change the tree."""
    try:
        while os.copy_file_range(source_fd, target_fd, 1 << 30):
            pass
    except OSError as error:
        if error.errno not in _NO_COPY_RANGE or os.fstat(target_fd).st_size:
            raise
        while chunk := os.read(source_fd, _CHUNK):
            write_all(target_fd, chunk)


def _copy_file(source: str, target_fd: int) -> int:
    """The mode for the copy."""
    with opened(source) as source_fd:
        status = os.fstat(source_fd)
        if status.st_size > _LARGEST_FILE:
            raise _too_large(f"{source} has {format_size(status.st_size)}", _LARGEST_FILE)
        _copy_content(source_fd, target_fd)
        return 0o755 if status.st_mode & stat.S_IXUSR else 0o644


def _too_large(why: str, most_bytes: int) -> HiveboxError:
    hint = "use an interpreter or recipe with less, and grant large data by --ro"
    return HiveboxError(
        "cannot build a root filesystem as large as that", f"{why}; at most {format_size(most_bytes)}", hint
    )


def _make(entry: Entry, target: str) -> tuple[str, int, int, str] | None:
    """Creates ``target``; (type, mode, size, value) of its row, None for bytecode that cannot be had. Modes are
    normalised: no setuid, setgid or sticky bit, nothing writable by others, everything readable by the payload."""
    if entry.kind == DIR:
        os.mkdir(target)
        os.chmod(target, 0o755)  # noqa: S103  # whatever the umask
        return "dir", 0o755, 0, ""
    if entry.kind == LINK:
        os.symlink(entry.source, target)
        return "link", 0, 0, entry.source
    data = bytecode.of(entry.source, entry.data.decode()) if entry.kind == BYTECODE else entry.data
    if data is None:
        return None
    target_fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        mode = 0o644
        if entry.kind in (BYTECODE, DATA):
            write_all(target_fd, data)
        else:
            mode = _copy_file(entry.source, target_fd)
        os.fchmod(target_fd, mode)
        return "file", mode, *hash_fd(target_fd)  # of what was written, whatever the source is by now
    finally:
        os.close(target_fd)


def copy(inventory: Inventory, directory: str, progress: Progress) -> list[Row]:
    """The manifest rows. Raises HiveboxError; the caller removes the directory."""
    rows: list[Row] = []
    total = 0
    paths = sorted(inventory.entries)
    for count, path in enumerate(paths):
        if count % 64 == 0:
            progress("copying", count, len(paths))
        entry = inventory.entries[path]
        try:
            made = _make(entry, directory + path)
        except OSError as error:
            number = error.errno or 0
            where = directory if number in (errno.ENOSPC, errno.EDQUOT) else entry.source or path
            why = f"{where}: {errno_text(number)}"
            raise HiveboxError("cannot copy into the root filesystem", why, hint_for(number)) from error
        if made is not None:
            rows.append([path, *made])
            total += made[2]
            if total > _LARGEST_TREE:
                raise _too_large(f"its files up to {path} have {format_size(total)}", _LARGEST_TREE)
    progress("copying", len(paths), len(paths))
    return rows
