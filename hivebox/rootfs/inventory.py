"""What a tree will hold: tree path -> where its content comes from. Nothing is copied yet.

Paths stay what they are on the host, so that nothing needs to be adapted; only /etc/X goes to ``RELOCATED_ETC``/X, with
one symbolic link in the sandbox's own small /etc, so that a Debian tree is a single mount (/usr).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import NamedTuple

from hivebox.errors import HiveboxError, errno_text
from hivebox.policy.grants import is_within, private_dirs

RELOCATED_ETC = "/usr/share/hivebox/etc"
_SYSTEM_DIRS = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
_NO_UNITS = ("", "proc", "sys", "dev", "etc")
_MOST_LINKS = 40
_MOST_ENTRIES = 500_000

DIR, FILE, LINK, BYTECODE, DATA = "dir", "file", "link", "bytecode", "data"


class Entry(NamedTuple):
    """``source`` is the host file of a FILE, the .py of a BYTECODE, the target of a LINK; ``data`` is for DATA, and
    names the cache tag for BYTECODE."""

    kind: str
    source: str = ""
    data: bytes = b""


def _place(path: str) -> str:
    return RELOCATED_ETC + path.removeprefix("/etc") if is_within(path, "/etc") else path


def keep_all(_path: str) -> bool:
    return True


class Inventory:
    """Grows by ``follow`` and the ``add_`` calls; read by ``stage``."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._roots: set[str] = set()
        self._private = private_dirs("read_only")

    def __contains__(self, path: str) -> bool:
        return _place(path) in self.entries

    def _put(self, path: str, entry: Entry) -> None:
        if entry.kind == FILE and any(is_within(entry.source, directory) for directory in self._private):
            why = f"{entry.source} is where hivebox keeps its keys and records"
            raise HiveboxError("cannot have that in a root filesystem", why, "use an interpreter or file elsewhere")
        placed = _place(path)
        parent = os.path.dirname(placed)
        while parent not in self.entries and parent != "/":
            self.entries[parent] = Entry(DIR)
            parent = os.path.dirname(parent)
        self.entries[placed] = entry
        if len(self.entries) > _MOST_ENTRIES:
            why = f"more than {_MOST_ENTRIES} files, up to {path}"
            raise HiveboxError("cannot build a root filesystem of so many", why, "use an interpreter with less")

    def _put_link(self, link: str, target: str) -> None:
        if is_within(link, "/etc"):  # a relative target would mean something else at the relocated place
            target = os.path.normpath(os.path.join(os.path.dirname(link), target))
        self._put(link, Entry(LINK, target))

    def follow(self, path: str) -> str:
        """The canonical host path of ``path``; every symbolic link on the way becomes part of the tree.
        Raises HiveboxError when it leads nowhere."""
        done, todo, links = "/", path.split("/")[::-1], 0
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            here = os.path.normpath(os.path.join(done, name))
            try:
                target = os.readlink(here)
            except OSError as error:
                if error.errno != errno.EINVAL:  # EINVAL: exists, and is no link
                    raise HiveboxError(f"cannot find {path}", f"{here}: {errno_text(error.errno or 0)}") from error
                done = here
                continue
            links += 1
            if links > _MOST_LINKS:
                raise HiveboxError(f"cannot find {path}", f"{here}: {errno_text(errno.ELOOP)}")
            self._put_link(here, target)
            done = "/" if target.startswith("/") else done
            todo.extend(target.split("/")[::-1])
        return done

    def add_root(self, directory: str) -> None:
        """One mount shall serve everything below this canonical directory."""
        self._roots.add(directory)

    def add_data(self, path: str, data: bytes) -> None:
        self._put(path, Entry(DATA, data=data))

    def add_link(self, link: str, target: str) -> None:
        self._put_link(link, target)

    def add_bytecode(self, path: str, source: str, tag: str) -> None:
        self._put(path, Entry(BYTECODE, source, tag.encode()))

    def add_file(self, path: str) -> str:
        """A single file and the links that lead to it. Returns its canonical host path."""
        canonical = self.follow(path)
        self._put(canonical, Entry(FILE, canonical))
        self._roots.add(os.path.dirname(canonical))
        return canonical

    def add_exact(self, path: str) -> None:
        """A single file whose canonical path this is. Should it have become a link, copying it fails."""
        self._put(path, Entry(FILE, path))

    def add_tree(self, path: str, keep: Callable[[str], bool] = keep_all) -> None:
        """What is at ``path``, all of it if a directory, and the links that lead to it."""
        canonical = self.follow(path)
        if os.path.isdir(canonical):
            self.add_exact_tree(canonical, keep)
        else:
            self.add_file(canonical)

    def add_exact_tree(self, top: str, keep: Callable[[str], bool] = keep_all) -> list[str]:
        """All that ``keep`` (of the canonical path) accepts of a directory whose canonical path this is. Returns the
        files.

        Links inside are copied as links and never followed: one that points to /etc/shadow or ~/.ssh in a virtual
        environment from elsewhere must not bring that file into the sandbox.
        """
        self._roots.add(top)
        self._put(top, Entry(DIR))
        files: list[str] = []
        pending = [top]
        while pending:
            with os.scandir(pending.pop()) as entries:
                for entry in sorted((e for e in entries if keep(e.path)), key=lambda e: e.name):
                    self._add_found(entry, files, pending)
        return files

    def _add_found(self, entry: os.DirEntry[str], files: list[str], pending: list[str]) -> None:
        if entry.is_symlink():
            self._put_link(entry.path, os.readlink(entry.path))
        elif entry.is_dir():
            self._put(entry.path, Entry(DIR))
            pending.append(entry.path)
        elif entry.is_file():  # no socket, FIFO or device
            self._put(entry.path, Entry(FILE, entry.path))
            files.append(entry.path)

    def _unit_of(self, path: str) -> str:
        top = path.split("/")[1]
        if top in _SYSTEM_DIRS:
            return "/" + top
        holders = [root for root in self._roots if is_within(path, root)]
        unit = min(holders, key=len, default=os.path.dirname(path))
        if top in _NO_UNITS or unit == "/":
            raise HiveboxError(
                f"cannot have {path} in a root filesystem",
                f"/{top} is the sandbox's own",
                "use an interpreter or file elsewhere",
            )
        return unit

    def mounts(self) -> tuple[str, ...]:
        """The directories to mount, none inside another."""
        units = {self._unit_of(path) for path, entry in self.entries.items() if entry.kind not in (DIR, LINK)}
        return tuple(sorted(u for u in units if not any(u != other and is_within(u, other) for other in units)))

    def symlinks(self) -> tuple[tuple[str, str], ...]:
        """(path, target) of the links outside of every mount, and those that stand in for the relocated /etc."""
        mounts = self.mounts()
        outside = {
            (path, entry.source)
            for path, entry in self.entries.items()
            if entry.kind == LINK and not any(is_within(path, unit) for unit in mounts)
        }
        depth = RELOCATED_ETC.count("/") + 1
        relocated = {p for p in self.entries if is_within(p, RELOCATED_ETC) and p.count("/") == depth}
        return tuple(sorted(outside | {("/etc" + path.removeprefix(RELOCATED_ETC), path) for path in relocated}))
