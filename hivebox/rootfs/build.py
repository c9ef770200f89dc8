"""Building a tree, atomically: under one lock, in a private directory, renamed when complete, its manifest last.

A build that is killed leaves a directory in ``building`` (or a tree without a manifest, which does not count); the next
build removes it. A tree in use is never changed: sandboxes hold a shared lock on it (``store.hold``).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hivebox import locations
from hivebox.errors import HiveboxError, from_os_error
from hivebox.kernel import libc
from hivebox.rootfs import plan as planning
from hivebox.rootfs import recipe as recipes
from hivebox.rootfs import stage, store
from hivebox.rootfs.recipe import Recipe
from hivebox.rootfs.store import Tree

if TYPE_CHECKING:
    from hivebox.rootfs.store import Progress

MANIFEST_FORMAT = 1

Missing = list[tuple[str, str]]  # library, wanted by


def _silent(_phase: str, _done: int, _total: int) -> None:
    pass


def _building_dir() -> str:
    return os.path.join(store.root_dir(), "building")


def _make_dirs() -> None:
    """Below the private state directory everything is 0755: root's payloads run as another user."""
    locations.make_private_dir(locations.state_dir())
    for directory in (store.root_dir(), store.trees_dir(), _building_dir(), os.path.join(store.root_dir(), "index")):
        os.makedirs(directory, exist_ok=True)
        locations.check_own_dir(directory)
        os.chmod(directory, 0o755)  # noqa: S103  # as the docstring says


@contextlib.contextmanager
def locked(progress: Progress = _silent) -> Iterator[None]:
    """One builder or pruner at a time per state directory. The lock goes with the process, by kill -9 too."""
    try:
        _make_dirs()
        handle = os.open(os.path.join(store.root_dir(), "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        hint = "check who owns it, or set HIVEBOX_STATE to a directory of your own"
        raise from_os_error("cannot use the state directory", error, hint) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another build", 0, 0)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def is_held(path: str) -> bool:
    """Whether a sandbox uses this tree (``store.hold``)."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def discard(path: str) -> None:
    """Remove what was moved to ``building``, unless a sandbox still uses it: then a later build does."""
    if os.path.isdir(path) and not is_held(path):
        shutil.rmtree(path)


def move_away(digest: str) -> str:
    """Take a tree out of the store, its manifest first so that it stops counting. Returns where it is now."""
    path = os.path.join(store.trees_dir(), digest)
    away = os.path.join(_building_dir(), f"old-{digest}-{os.urandom(4).hex()}")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path + ".json")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, away)
    return away


def _write_json(path: str, value: dict[str, Any]) -> None:
    temporary = os.path.join(_building_dir(), f"json-{os.urandom(4).hex()}")
    with open(temporary, "w", encoding="ascii") as file:
        json.dump(value, file, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    os.chmod(temporary, 0o644)
    os.rename(temporary, path)


def _sync(directory: str) -> None:
    """syncfs(2): the tree is on disk before its manifest says so."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        libc.call("syncfs", handle, detail=directory)
    finally:
        os.close(handle)


def remove_leftovers() -> None:
    """Of builds that were killed. Only under the lock: what is in ``building`` then has no builder."""
    with os.scandir(store.trees_dir()) as entries:
        for entry in list(entries):
            if entry.is_dir() and not os.path.isfile(entry.path + ".json"):
                move_away(entry.name)
    with os.scandir(_building_dir()) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                discard(entry.path)
            else:
                os.unlink(entry.path)


def _commit(staged: str, rows: list[stage.Row], tree: Tree, missing: Missing, *, force: bool) -> None:
    target = os.path.join(store.trees_dir(), tree.digest)
    if os.path.isfile(target + ".json") and os.path.isdir(target) and not force:
        shutil.rmtree(staged)
        return
    away = move_away(tree.digest)
    os.rename(staged, target)
    _sync(store.trees_dir())
    manifest = {"format": MANIFEST_FORMAT, **_plain(tree), "missing": missing, "entries": rows}
    _write_json(target + ".json", manifest)
    discard(away)


def _plain(tree: Tree) -> dict[str, Any]:
    return {key: value for key, value in tree._asdict().items() if key != "path"}


def _build_tree(recipe: Recipe, interpreter: str, progress: Progress, *, force: bool) -> tuple[Tree, Any]:
    progress("reading", 0, 0)
    plan = planning.make(recipe, interpreter)
    mounts, symlinks = plan.inventory.mounts(), plan.inventory.symlinks()
    staged = os.path.join(_building_dir(), f"new-{os.urandom(8).hex()}")
    os.mkdir(staged)
    os.chmod(staged, 0o755)  # noqa: S103  # whatever the umask: root's payloads run as another user
    try:
        rows = stage.copy(plan.inventory, staged, progress)
        digest = stage.digest_of(rows)
        path = os.path.join(store.trees_dir(), digest)
        program = stage.sha256_at(rows, plan.interpreter)
        tree = Tree(digest, path, recipe.name, mounts, symlinks, plan.interpreter, plan.search_path, (), program)
        _commit(staged, rows, tree, plan.missing, force=force)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return tree, plan.stamps


def _resolve_interpreter(recipe: Recipe, interpreter: str) -> str:
    if interpreter and not os.path.isabs(interpreter):
        raise HiveboxError(
            f"cannot use the interpreter {interpreter}", "the path is not absolute", "give the full path"
        )
    if interpreter and recipe.interpreter == "none":
        raise HiveboxError(
            f"the recipe {recipe.name} has no interpreter", f"{interpreter} was asked for", "leave it out"
        )
    if recipe.interpreter == "python" and not interpreter:
        return store.default_interpreter()
    return interpreter


def build(recipe: str, interpreter: str, *, progress: Progress | None = None, force: bool = False) -> Tree:
    """The tree for this recipe and interpreter ("" is the default one), built unless a fresh one is there. ``force``
    builds anyway and replaces a tree of the same digest. Raises HiveboxError; nothing half-made remains."""
    if recipe == store.HOST:
        return store.host_tree(interpreter)
    report = progress or _silent
    loaded = recipes.load(recipe)
    chosen = _resolve_interpreter(loaded, interpreter)
    with locked(report):
        found = None if force else store.find(recipe, interpreter)
        if found is not None:  # another process has built it while this one waited
            return found
        try:
            remove_leftovers()
            tree, stamps = _build_tree(loaded, chosen, report, force=force)
            index = {
                "format": store.INDEX_FORMAT,
                "tree": _plain(tree),
                "recipes": loaded.sources,
                "stamps": stamps,
                "asked": [recipe, chosen],
            }
            _write_json(store.index_path(recipe, chosen), index)
        except OSError as error:
            hint = stage.hint_for(error.errno or 0)
            raise from_os_error(f"cannot build the {recipe} root filesystem", error, hint) from error
    return tree
