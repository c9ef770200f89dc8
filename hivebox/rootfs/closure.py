"""The shared libraries that programs need, found as ld.so(8) finds them and added to an inventory."""

from __future__ import annotations

import os
import stat

from hivebox.errors import HiveboxError, errno_text
from hivebox.rootfs import elf, ldcache, store
from hivebox.rootfs.inventory import Inventory

_LIB_DIRS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")


def _default_dirs() -> tuple[str, ...]:
    multiarch = f"{os.uname().machine}-linux-gnu"
    candidates = (f"/lib/{multiarch}", f"/usr/lib/{multiarch}", *_LIB_DIRS)
    return tuple(path for path in candidates if os.path.isdir(path))


def read_elf(path: str) -> elf.Elf | None:
    """The file's dynamic section, None when it is not a regular ELF file. Raises elf.UnusableElfError and OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # NONBLOCK: a FIFO must not stop the build
    try:
        return elf.read(handle) if stat.S_ISREG(os.fstat(handle).st_mode) else None
    finally:
        os.close(handle)


class Closure:
    """``missing`` are (library, wanted by) that were not found for optional files. ``directories`` are where libraries
    were found, each with its stamp from before it was read. ``found_in_cache`` is what the tree's own cache lists."""

    def __init__(self, inventory: Inventory) -> None:
        self.missing: list[tuple[str, str]] = []
        self.directories: dict[str, list[int]] = {}
        self.found_in_cache: list[ldcache.Library] = []
        self._inventory = inventory
        self._default_dirs = _default_dirs()
        self._visited: set[str] = set()
        self._cache: dict[str, list[ldcache.Library]] = {}
        for library in ldcache.read_host():
            self._cache.setdefault(library.name, []).append(library)

    def add_program(self, path: str) -> None:
        """A program or library with all it needs. Raises HiveboxError when it is not ELF, for another machine, or a
        library is missing."""
        canonical = self._inventory.add_file(path)
        try:
            program = read_elf(canonical)
        except elf.UnusableElfError as error:
            hint = f"install it for {os.uname().machine}"
            raise HiveboxError(f"cannot run {path}", str(error), hint, exit_code=126) from error
        if program is None:  # nor may a link under a program's name bring any other file in
            raise HiveboxError(f"cannot run {path}", f"{canonical} is no ELF program", exit_code=126)
        self._add_needs(program, path, canonical, (), required=True)

    def _add_elf(self, path: str) -> tuple[str, elf.Elf] | None:
        """(canonical path, content) of a file that was added, None (and nothing is) when it cannot be loaded.

        ld.so goes on searching past a file of another architecture. Only ELF is ever taken: an RPATH or PT_INTERP
        that leads to /etc/shadow brings nothing into the tree.
        """
        real = os.path.realpath(path)
        try:
            loaded = read_elf(real)
        except (elf.UnusableElfError, OSError):
            return None
        if loaded is None:
            return None
        if self._inventory.add_file(path) != real:
            why = "it was replaced by a symbolic link during the build"
            raise HiveboxError(f"cannot copy {path}", why, "run the command again")
        return real, loaded

    def add_needs_of(self, path: str) -> None:
        """What a file of a package needs, if it is ELF for this machine. A library that cannot be found is noted only:
        that module fails to import, as it does on the host."""
        try:
            library = read_elf(path)
        except elf.UnusableElfError:
            return
        if library is not None:
            self._add_needs(library, path, path, (), required=False)

    def add_library(self, name: str) -> bool:
        """A library by its soname, for what is only opened with dlopen. False when the host does not have it."""
        return self._add_library(name, "a recipe", (), required=False)

    def _add_needs(
        self, loaded: elf.Elf, path: str, canonical: str, inherited: tuple[str, ...], *, required: bool
    ) -> None:
        if canonical in self._visited:
            return
        self._visited.add(canonical)
        if loaded.interpreter and self._add_elf(loaded.interpreter) is None and required:
            why = f"its dynamic linker {loaded.interpreter} is missing or no program for this machine"
            raise HiveboxError(f"cannot run {path}", why, "install the C library it was made for", exit_code=126)
        origins = dict.fromkeys((os.path.dirname(path), os.path.dirname(canonical)))
        rpath = () if loaded.runpath else (*_expand(loaded.rpath, origins), *inherited)
        search = (*rpath, *_expand(loaded.runpath, origins))
        for name in loaded.needed:
            self._add_library(name, path, search, required=required, inherited=rpath)

    def _add_library(
        self, name: str, wanted_by: str, search: tuple[str, ...], *, required: bool, inherited: tuple[str, ...] = ()
    ) -> bool:
        for candidate, cached in self._candidates(name, search):
            directory = os.path.dirname(os.path.realpath(candidate))
            seen = self.directories.get(directory) or store.stamp(directory)
            added = self._add_elf(candidate)
            if added is None:
                continue
            self.directories.setdefault(directory, seen)
            if cached is not None:
                self.found_in_cache.append(cached)
            self._add_needs(added[1], candidate, added[0], inherited, required=required)
            return True
        if required:
            raise HiveboxError(
                f"cannot find the shared library {name}",
                f"needed by {wanted_by}: {errno_text(2)} in its RPATH, {ldcache.CACHE} and the default directories",
                "install the package that has it, or run ldconfig",
            )
        self.missing.append((name, wanted_by))
        return False

    def _candidates(self, name: str, search: tuple[str, ...]) -> list[tuple[str, ldcache.Library | None]]:
        if "/" in name:
            return [(name, None)] if name.startswith("/") else []
        cached: list[tuple[str, ldcache.Library | None]] = [(lib.path, lib) for lib in self._cache.get(name, [])]
        before = [(os.path.join(directory, name), None) for directory in search]
        after = [(os.path.join(directory, name), None) for directory in self._default_dirs]
        return [*before, *cached, *after]


def _expand(paths: tuple[str, ...], origins: dict[str, None]) -> tuple[str, ...]:
    """$ORIGIN replaced; what is then not absolute, or has another token, is left out."""
    expanded = [path.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for path in paths for origin in origins]
    return tuple(dict.fromkeys(os.path.normpath(p) for p in expanded if p.startswith("/") and "$" not in p))
