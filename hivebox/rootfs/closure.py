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
    """``missing`` are (library, wanted by) that were not found for optional files; ``directories`` are where libraries
    were found, each with its stamp from before it was read; ``found_in_cache`` is what the tree's own ld.so.cache lists."""

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

    def add_program(self, path: str) -> elf.Elf | None:
        """The program or library with all it needs; None (and only the file is added) when it is not ELF.
        Raises HiveboxError when it is for another machine or a library is missing."""
        canonical = self._inventory.add_file(path)
        try:
            program = read_elf(canonical)
        except elf.UnusableElfError as error:
            raise HiveboxError(
                f"cannot run {path}", str(error), f"install it for {os.uname().machine}", exit_code=126
            ) from error
        if program is not None:
            self._add_needs(program, path, canonical, (), required=True)
        return program

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
        if loaded.interpreter:
            self._inventory.add_file(loaded.interpreter)
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
            library = _loadable(candidate)
            if library is None:
                continue
            canonical = self._inventory.add_file(candidate)
            self.directories.setdefault(directory, seen)
            if cached is not None:
                self.found_in_cache.append(cached)
            self._add_needs(library, candidate, canonical, inherited, required=required)
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


def _loadable(path: str) -> elf.Elf | None:
    """ld.so goes on searching past a file of another architecture. Only ELF is ever taken: an RPATH that leads to
    /etc/shadow under a library's name brings nothing into the tree."""
    try:
        return read_elf(path)
    except (elf.UnusableElfError, OSError):
        return None
