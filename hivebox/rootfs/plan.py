"""From a recipe and an interpreter to what a tree holds and how it is mounted."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable
from typing import NamedTuple

from hivebox.errors import HiveboxError, errno_text
from hivebox.rootfs import ldcache, python, store
from hivebox.rootfs.closure import Closure, read_elf
from hivebox.rootfs.inventory import Inventory
from hivebox.rootfs.recipe import Recipe

# Not the caller's PATH: which programs a root holds must not depend on who built it.
_PROGRAM_DIRS = ("/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin")
_LONGEST_SHEBANG = 256


class Plan(NamedTuple):
    """``stamps`` were taken before anything is read, so that a change during the build makes the tree stale.
    ``missing`` are (library, wanted by) of packages whose extension modules will not load."""

    inventory: Inventory
    interpreter: str
    search_path: str
    stamps: list[tuple[str, list[int]]]
    missing: list[tuple[str, str]]


def _keep(recipe: Recipe, stdlib: str) -> Callable[[str], bool]:
    """Patterns match a whole path, ``*`` within one component."""
    patterns = [pattern.replace("{stdlib}", stdlib).split("/") for pattern in recipe.exclude]

    def keep(path: str) -> bool:
        parts = path.split("/")
        return not any(
            len(pattern) == len(parts) and all(map(fnmatch.fnmatchcase, parts, pattern)) for pattern in patterns
        )

    return keep


def _find_program(name: str) -> str | None:
    candidates = (os.path.join(directory, name) for directory in _PROGRAM_DIRS)
    return next((path for path in candidates if os.path.isfile(path) and os.access(path, os.X_OK)), None)


def _script_interpreter(path: str) -> str:
    with open(path, "rb") as file:
        line = file.readline(_LONGEST_SHEBANG)
    words = os.fsdecode(line[2:]).split() if line.startswith(b"#!") else []
    return words[0] if words else ""


def _add_programs(recipe: Recipe, inventory: Inventory, closure: Closure) -> None:
    """Binaries first: a script is of use only where what runs it is there too."""
    scripts = []
    for name in (*recipe.programs.required, *recipe.programs.optional):
        path = _find_program(name)
        if path is None and name in recipe.programs.required:
            raise HiveboxError(
                f"cannot build the {recipe.name} root filesystem",
                f"no program {name} in {':'.join(_PROGRAM_DIRS)}",
                f"install {name}",
            )
        if path is not None and read_elf(path) is None:
            scripts.append((name, path))
        elif path is not None:
            closure.add_program(path)
    for name, path in scripts:
        runner = _script_interpreter(path)
        if os.path.realpath(runner) in inventory:
            inventory.add_file(path)
        elif name in recipe.programs.required:
            why = f"{path} is a script for {runner}, which is not in the recipe"
            raise HiveboxError(f"cannot build the {recipe.name} root filesystem", why, "add its program to the recipe")


def _add_libraries(recipe: Recipe, closure: Closure) -> None:
    for name in recipe.libraries.optional:
        closure.add_library(name)
    for name in recipe.libraries.required:
        if not closure.add_library(name):
            why = f"no library {name} in {ldcache.CACHE} or the default directories"
            raise HiveboxError(f"cannot build the {recipe.name} root filesystem", why, "install it")


def _add_files(recipe: Recipe, inventory: Inventory, keep: Callable[[str], bool]) -> None:
    for path in (*recipe.files.required, *recipe.files.optional):
        if os.path.exists(path):
            inventory.add_tree(path, keep)
        elif path in recipe.files.required:
            raise HiveboxError(f"cannot build the {recipe.name} root filesystem", f"{path}: {errno_text(2)}")


def _add_base(inventory: Inventory, closure: Closure) -> None:
    """What no recipe has to name: the links of a merged /usr, and the dynamic linker's cache."""
    if closure.found_in_cache:
        inventory.add_data(ldcache.CACHE, ldcache.encode(closure.found_in_cache))
    for path in store.TOP_LINKS:
        if os.path.islink(path) and os.path.realpath(path) in inventory:
            inventory.add_link(path, os.readlink(path))


def _node(interpreter: str) -> str:
    path = interpreter or _find_program("node") or _find_program("nodejs")
    if path is None:
        raise HiveboxError(
            "no node to build a root filesystem with", f"none in {':'.join(_PROGRAM_DIRS)}", "install it"
        )
    if not os.path.isfile(path):
        raise HiveboxError(f"cannot use the interpreter {path}", errno_text(2), "give one that exists")
    return path


def make(recipe: Recipe, interpreter: str) -> Plan:
    """Raises HiveboxError when the host lacks something required. Reads ELF files; copies nothing."""
    inventory = Inventory()
    closure = Closure(inventory)
    found = python.find(interpreter) if recipe.interpreter == "python" else None
    if recipe.interpreter == "node":
        interpreter = _node(interpreter)
    with_packages = recipe.packages == "all" or (found is not None and found.system_packages)
    stamped = [*(path for _, path in recipe.sources), *filter(None, [interpreter]), ldcache.CACHE, *_PROGRAM_DIRS]
    stamped += python.stamped_paths(found, packages=with_packages) if found else []
    stamps = {path: store.stamp(path) for path in (*stamped, *recipe.files.required, *recipe.files.optional)}
    keep = _keep(recipe, found.stdlib if found else "")
    if found:
        python.add(inventory, closure, found, keep, packages=with_packages)
    elif interpreter:
        closure.add_program(interpreter)
    _add_programs(recipe, inventory, closure)
    _add_libraries(recipe, closure)
    _add_files(recipe, inventory, keep)
    _add_base(inventory, closure)
    by_place = {os.path.realpath(path): (path, seen) for path, seen in reversed((stamps | closure.directories).items())}
    distinct = list(reversed(by_place.values()))  # /bin is /usr/bin: one stat is enough
    return Plan(inventory, interpreter, _search_path(inventory, interpreter), distinct, closure.missing)


def _search_path(inventory: Inventory, interpreter: str) -> str:
    own = [os.path.dirname(interpreter)] if interpreter else []
    local = ["/usr/local/bin"] if "/usr/local/bin" in inventory else []
    return ":".join(dict.fromkeys([*own, *local, "/usr/bin", "/bin"]))
