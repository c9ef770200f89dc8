"""Which files make up a Python, found as Modules/getpath.py finds them, without starting it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import NamedTuple

from hivebox.errors import HiveboxError, from_os_error
from hivebox.policy.grants import is_within
from hivebox.rootfs import bytecode
from hivebox.rootfs.closure import Closure, read_elf
from hivebox.rootfs.elf import Elf, UnusableElfError
from hivebox.rootfs.hostfile import read_small
from hivebox.rootfs.inventory import Inventory

_MAIN = b"\0Py_BytesMain\0"  # every CPython since 3.8 has this symbol, its own or from libpython
_VENV_PARTS = ("bin", "lib", "lib64", "share")
_DEBIAN_PACKAGES = ("/usr/lib/python3/dist-packages", "/usr/local/lib/python{version}/dist-packages")
_LANDMARK = "os.py"
_LARGEST_CFG = 1 << 16


class Python(NamedTuple):
    """``executable`` is the path as asked for: in a virtual environment, that is what activates it. ``home`` is the
    directory of the base interpreter, ``venv`` the environment's directory or "". Only ``stdlib`` is canonical."""

    executable: str
    home: str
    version: str
    stdlib: str
    venv: str
    system_packages: bool

    @property
    def cache_tag(self) -> str:
        return "cpython-" + self.version.replace(".", "").rstrip("t")  # free-threaded builds share their bytecode


def _not_python(path: str, why: str) -> HiveboxError:
    return HiveboxError(
        f"not a Python interpreter: {path}",
        why,
        "give the program itself, as `python3 -c 'import sys; print(sys.executable)'` shows it",
        exit_code=126,
    )


def _read_program(path: str) -> Elf:
    try:
        program = read_elf(path)
    except UnusableElfError as error:
        raise HiveboxError(
            f"cannot use the interpreter {path}",
            str(error),
            f"give one for this machine ({os.uname().machine})",
            exit_code=126,
        ) from error
    except OSError as error:
        raise from_os_error(f"cannot use the interpreter {path}", error, "give an interpreter that exists") from error
    if program is None:
        raise _not_python(path, "it is no ELF program (a pyenv shim, perhaps: `pyenv which python` tells the real one)")
    if _MAIN not in program.strings:
        raise _not_python(path, "it does not have the symbol Py_BytesMain")
    return program


def _venv_config(executable: str) -> tuple[str, dict[str, str]]:
    """(directory, keys of its pyvenv.cfg), or ("", {}). The unresolved path counts, as for Python itself."""
    directory = os.path.dirname(executable)
    for candidate in (directory, os.path.dirname(directory)):
        try:
            text = os.fsdecode(read_small(os.path.join(candidate, "pyvenv.cfg"), _LARGEST_CFG))
        except OSError:  # absent; or a link, and a secret must not be copied as this file
            continue
        pairs = (line.partition("=") for line in text.splitlines())
        config = {key.strip().lower(): value.strip() for key, _, value in pairs}
        if os.path.isabs(config.get("home", "")):
            return candidate, config
    return "", {}


def _versions(executable: str, program: Elf, config: dict[str, str]) -> list[str]:
    """Version names that the interpreter gives away, best first."""
    texts = [os.path.basename(os.path.realpath(executable)), *program.needed]
    named = [match[1] for text in texts if (match := re.search(r"python(\d+\.\d+t?)", text))]
    from_config = re.match(r"\d+\.\d+", config.get("version_info", config.get("version", "")))
    return [*named, *([from_config[0]] if from_config else [])]


def _search_up(directory: str, versions: list[str]) -> tuple[str, str] | None:
    """(version, canonical standard library) by the landmark os.py, in ``directory`` or above. A link that leads out of
    there is none: a checkout from elsewhere must not say that ~/.ssh is the library of its Python."""
    directory = os.path.realpath(directory)
    while True:
        for lib in ("lib", "lib64"):
            for version in versions or _versions_in(os.path.join(directory, lib)):
                stdlib = os.path.realpath(os.path.join(directory, lib, "python" + version))
                if is_within(stdlib, directory) and os.path.isfile(os.path.join(stdlib, _LANDMARK)):
                    return version, stdlib
        if directory == "/":
            return None
        directory = os.path.dirname(directory)


def _versions_in(lib: str) -> list[str]:
    names = os.listdir(lib) if os.path.isdir(lib) else []
    found = [match[1] for name in sorted(names) if (match := re.fullmatch(r"python(\d+\.\d+t?)", name))]
    return found if len(found) == 1 else []


def find(executable: str) -> Python:
    """What belongs to the interpreter at this absolute path. Raises HiveboxError when it is none."""
    program = _read_program(executable)
    venv, config = _venv_config(executable)
    home = config.get("home") or os.path.dirname(executable)
    versions = _versions(executable, program, config)
    for start in (home, os.path.dirname(os.path.realpath(executable))):
        found = _search_up(start, versions)
        if found is not None:
            system = config.get("include-system-site-packages", "").lower() == "true"
            return Python(executable, home, *found, venv, system)
    raise _not_python(executable, f"no standard library lib/python{versions[0] if versions else '3.X'} above {home}")


def _package_dirs(python: Python) -> list[str]:
    """Where packages for the base interpreter are, as its site module would find them. Canonical. Raises HiveboxError
    for a directory of its own that is a link out of its prefix: the packages of a Python from elsewhere could be any
    directory of the caller's."""
    prefix = os.path.dirname(os.path.dirname(python.stdlib))
    directories = []
    for path in filter(os.path.isdir, _own_packages(python)):
        real = os.path.realpath(path)
        if not is_within(real, prefix):
            why = f"{path} leads to {real}, out of {prefix}"
            raise HiveboxError(f"cannot use the packages of {python.home}", why, "use an environment without them")
        directories.append(real)
    if python.stdlib.startswith("/usr/lib/"):
        debian = (pattern.format(version=python.version) for pattern in _DEBIAN_PACKAGES)
        directories += [os.path.realpath(path) for path in debian if os.path.isdir(path)]
    return directories


def _own_packages(python: Python) -> tuple[str, ...]:
    return tuple(os.path.join(python.stdlib, name) for name in ("site-packages", "dist-packages"))


def _add_code(inventory: Inventory, closure: Closure, python: Python, path: str, keep: Callable[[str], bool]) -> None:
    """A directory of modules, by its canonical path: sources, bytecode, and what extension modules need."""

    def keep_code(found: str) -> bool:
        return os.path.basename(found) != "__pycache__" and keep(found)

    for file in inventory.add_exact_tree(path, keep_code):
        name = os.path.basename(file)
        if name.endswith(".py"):
            inventory.add_bytecode(bytecode.cache_path(file, python.cache_tag), file, python.cache_tag)
        elif name.endswith(".so") or ".so." in name:
            closure.add_needs_of(file)


def _base(python: Python) -> str:
    """The base interpreter's program: what a virtual environment's own python stands for."""
    real = os.path.realpath(python.executable)
    for name in ("python" + python.version, os.path.basename(real), "python3", "python"):
        candidate = os.path.join(python.home, name)
        if os.path.isfile(candidate):
            return candidate
    return python.executable


def _add_executables(inventory: Inventory, closure: Closure, python: Python) -> None:
    base = _base(python)
    _read_program(base)  # ``home`` may name any directory
    closure.add_program(python.executable)
    closure.add_program(base)
    same = {os.path.realpath(python.executable), os.path.realpath(base)}
    for directory in dict.fromkeys((os.path.dirname(python.executable), python.home)):
        for name in ("python", "python3", "python" + python.version):
            candidate = os.path.join(directory, name)
            if os.path.realpath(candidate) in same:  # not a /usr/bin/python3 of another version
                closure.add_program(candidate)
    for link in ("/usr/bin/python3", "/usr/bin/python"):
        if link not in inventory:
            inventory.add_link(link, base)


def _add_venv(inventory: Inventory, closure: Closure, python: Python, keep: Callable[[str], bool]) -> None:
    venv = inventory.follow(python.venv)
    inventory.add_root(venv)
    inventory.add_exact(os.path.join(venv, "pyvenv.cfg"))
    for path in (os.path.join(venv, part) for part in _VENV_PARTS):
        if os.path.islink(path):  # lib64 -> lib; whatever it is, its content is not copied by way of the link
            inventory.add_link(path, os.readlink(path))
        elif os.path.isdir(path):
            _add_code(inventory, closure, python, path, keep)


def add(inventory: Inventory, closure: Closure, python: Python, keep: Callable[[str], bool], *, packages: bool) -> None:
    """Interpreter, standard library, the packages of its virtual environment, and with ``packages`` also those that are
    installed for the base interpreter."""
    own_packages = _own_packages(python)
    _add_executables(inventory, closure, python)
    _add_code(inventory, closure, python, python.stdlib, lambda path: path not in own_packages and keep(path))
    inventory.add_exact(os.path.join(python.stdlib, _LANDMARK))  # what became a link since has none, and the build ends
    prefix = os.path.dirname(os.path.dirname(python.stdlib))
    inventory.add_root(prefix)
    if packages:
        for path in _own_packages(python):
            if os.path.islink(path):
                inventory.add_link(path, os.readlink(path))
        for directory in _package_dirs(python):
            _add_code(inventory, closure, python, directory, keep)
    if python.venv:
        _add_venv(inventory, closure, python, keep)


def stamped_paths(python: Python, *, packages: bool) -> list[str]:
    """Whose change means that the tree is out of date. Installing a package changes its directory."""
    paths = [python.executable, python.stdlib, os.path.join(python.stdlib, "lib-dynload")]
    if packages:
        paths += _package_dirs(python)
    if python.venv:
        site_packages = os.path.join(python.venv, "lib", "python" + python.version, "site-packages")
        paths += [os.path.join(python.venv, "pyvenv.cfg"), os.path.join(python.venv, "bin"), site_packages]
    return paths
