"""Finding a built tree: one JSON file and a few stat calls. On the ``hivebox run`` path, so imports stay light."""

from __future__ import annotations

import os
import sys

from hivebox import locations, plainjson
from hivebox.digest import sha256
from hivebox.errors import HiveboxError, from_os_error
from hivebox.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Progress = Callable[[str, int, int], None]  # phase, done, total (0: not known)

INDEX_FORMAT = 2
_REBUILD = "hivebox rootfs verify says what differs, hivebox rootfs build --force makes it anew"
HOST = "host"
TOP_LINKS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ABSENT = [0, 0, 0]
_HOST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Not /etc/ssl as a whole: its private/ holds keys.
_HOST_ETC_UNITS = ("/etc/alternatives", "/etc/ssl/certs", "/etc/ssl/openssl.cnf")
_HOST_ETC_FILES = ("ld.so.cache",)
_HOST_STATE = ("/usr", "/usr/bin", "/usr/lib", "/etc/os-release", "/etc/ld.so.cache", "/var/lib/dpkg/status")


class Tree(Frozen):
    """A root to mount. ``path`` + unit is the source of each unit in ``mounts`` (absolute, never nested; directories,
    in the host's tree also a file); ``path`` is "" for the host itself. ``symlinks`` are (absolute path, target) to
    make in the sandbox, some of them in /etc. ``etc`` are (name in /etc, absolute path below ``path``) to copy.
    ``interpreter`` is "" or an absolute path to execute, ``search_path`` the value of PATH.
    ``digest`` is the sha256 of the manifest in hex, or ``host:`` and a hash that identifies no content;
    ``interpreter_sha256`` is of the interpreter's own file, "" where there is none or nobody knows."""

    digest: str
    path: str
    recipe: str
    mounts: tuple[str, ...]
    symlinks: tuple[tuple[str, str], ...]
    interpreter: str
    search_path: str
    etc: tuple[tuple[str, str], ...] = ()
    interpreter_sha256: str = ""


def root_dir() -> str:
    """``<state>/rootfs``. What is mounted is opened without following any link."""
    return os.path.join(locations.state_dir(), "rootfs")


def trees_dir() -> str:
    return os.path.join(root_dir(), "trees")


def index_path(recipe: str, interpreter: str) -> str:
    key = sha256(f"{recipe}\0{interpreter}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return os.path.join(root_dir(), "index", key + ".json")


def default_interpreter() -> str:
    """The active virtual environment's python, unless hivebox itself runs from that environment: its dependencies are
    not the script's business. Otherwise the interpreter that hivebox's own environment is based on."""
    active = os.environ.get("VIRTUAL_ENV", "")
    if active and os.path.realpath(active) != os.path.realpath(sys.prefix):
        candidate = os.path.join(os.path.abspath(active), "bin", "python")
        if os.path.isfile(candidate):
            return candidate
    base: str = getattr(sys, "_base_executable", "") or sys.executable
    if not base:
        raise HiveboxError("no default interpreter", "this process has no sys.executable", "give rootfs.interpreter")
    return os.path.realpath(base)


def stamp(path: str) -> list[int]:
    """What a rebuild is decided by. A missing path has a stamp too: its appearance is a change."""
    try:
        status = os.stat(path)
    except OSError:
        return _ABSENT
    return [status.st_mtime_ns, status.st_size, status.st_ino]


def read_index(path: str) -> dict[str, Any] | None:
    """None when there is none, or one that another version wrote."""
    try:
        with open(path, "rb") as file:
            index = plainjson.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise from_os_error("cannot read the index of root filesystems", error, "check who owns the state") from error
    return index if isinstance(index, dict) and index.get("format") == INDEX_FORMAT else None


def is_fresh(index: dict[str, Any]) -> bool:
    """Another file may have come to stand for a recipe's name since the build: a user's goes before a shipped one."""
    return all(locations.find_shipped("rootfs", name) == path for name, path in index["recipes"]) and all(
        stamp(path) == expected for path, expected in index["stamps"]
    )


def tree_from_plain(plain: dict[str, Any]) -> Tree:
    """The inverse of ``Tree._asdict()`` after a trip through JSON, without ``path``: the state may be moved."""

    def pairs(items: Iterable[list[str]]) -> tuple[tuple[str, str], ...]:
        return tuple((first, second) for first, second in items)

    return Tree(
        digest=plain["digest"],
        path=os.path.join(trees_dir(), plain["digest"]),
        recipe=plain["recipe"],
        mounts=tuple(plain["mounts"]),
        symlinks=pairs(plain["symlinks"]),
        interpreter=plain["interpreter"],
        search_path=plain["search_path"],
        etc=pairs(plain["etc"]),
        interpreter_sha256=plain["interpreter_sha256"],
    )


def find(recipe: str, interpreter: str) -> Tree | None:
    """The tree built for this recipe and interpreter ("" is the default one), or None: never built, or out of date."""
    if recipe == HOST:
        return host_tree(interpreter)
    # A recipe without a choice of interpreter is indexed under "", whatever environment is active.
    index = read_index(index_path(recipe, interpreter or default_interpreter()))
    if index is None and not interpreter:
        index = read_index(index_path(recipe, ""))
    if index is None or not is_fresh(index):
        return None
    tree = tree_from_plain(index["tree"])
    return tree if os.path.isfile(tree.path + ".json") else None


def ensure(recipe: str, interpreter: str, progress: Progress | None = None) -> Tree:
    """``find``, else build. Raises HiveboxError when it cannot be built."""
    found = find(recipe, interpreter)
    if found is not None:
        return found
    from hivebox.rootfs.build import build  # noqa: PLC0415  # heavy, and only a first run needs it

    return build(recipe, interpreter, progress=progress)


def hold(tree: Tree) -> int:
    """A descriptor of the tree with a shared lock: until the caller closes it (and every copy of it), the tree is not
    removed. Raises HiveboxError when it was removed since ``find``, or others may change it."""
    import fcntl  # noqa: PLC0415  # not needed for a dry run

    try:
        handle = os.open(tree.path or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise from_os_error("cannot open the root filesystem", error, "run the command again to rebuild it") from error
    if not tree.digest.startswith(HOST):
        why = locations.foreign(os.fstat(handle), (os.geteuid(),))
        if why:
            os.close(handle)
            raise HiveboxError("refusing a root filesystem that others can change", f"{tree.path}: {why}", _REBUILD)
        fcntl.flock(handle, fcntl.LOCK_SH)
        if not os.path.isfile(tree.path + ".json"):  # removed between open and lock
            os.close(handle)
            raise HiveboxError("the root filesystem was removed", f"{tree.path}: pruned", "run the command again")
    return handle


def host_tree(interpreter: str = "") -> Tree:
    """This host's own /usr, not copied, so never stale. Its digest is of stat results of the system's directories and
    package database: it tells when the host changed, and proves nothing about what the files hold."""
    links = tuple((path, os.readlink(path)) for path in TOP_LINKS if os.path.islink(path))
    units = ["/usr", *(path for path in TOP_LINKS if os.path.isdir(path) and not os.path.islink(path))]
    units += [path for path in _HOST_ETC_UNITS if os.path.exists(path)]
    real = os.path.realpath(interpreter)
    if interpreter and not any(os.path.commonpath((real, unit)) == unit for unit in units):
        why = f"{real} is not below {', '.join(units)}"
        raise HiveboxError(f"cannot use {interpreter} with the recipe host", why, "use the recipe python")
    state = plainjson.dumps([(path, stamp(path)) for path in _HOST_STATE])
    etc = tuple((name, f"/etc/{name}") for name in _HOST_ETC_FILES if os.path.isfile(f"/etc/{name}"))
    digest = "host:" + sha256(state.encode()).hexdigest()
    return Tree(digest, "", HOST, tuple(units), links, interpreter, _HOST_PATH, etc)
