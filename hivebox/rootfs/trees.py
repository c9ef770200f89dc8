"""Looking after built trees: verify, list, remove."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from hivebox.errors import HiveboxError, from_os_error
from hivebox.rootfs import build, stage, store

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Difference(NamedTuple):
    """``kind`` is changed, missing, added, mode or type; ``path`` is absolute in the tree, "" for the manifest."""

    kind: str
    path: str


class TreeInfo(NamedTuple):
    """``uses`` are (recipe, interpreter) that currently lead to the tree; ``fresh`` says that a run would take it
    without a rebuild for at least one of them, ``damaged`` that its manifest cannot be read."""

    digest: str
    recipe: str
    interpreter: str
    size_bytes: int
    files: int
    uses: tuple[tuple[str, str], ...]
    fresh: bool
    damaged: bool = False


class DamagedManifestError(HiveboxError):
    """It is there, and is not what a build wrote."""


def digests() -> list[str]:
    try:
        names = os.listdir(store.trees_dir())
    except FileNotFoundError:
        return []
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def _manifest(digest: str) -> dict[str, Any]:
    if not _DIGEST.fullmatch(digest):
        raise HiveboxError(f"no digest of a root filesystem: {digest}", "expected 64 hex digits", "hivebox rootfs list")
    try:
        with open(os.path.join(store.trees_dir(), digest + ".json"), "rb") as file:
            manifest: dict[str, Any] = json.load(file)
    except OSError as error:
        raise from_os_error(f"no root filesystem {digest[:12]}", error, "hivebox rootfs list shows them") from error
    except ValueError as error:
        raise _damaged(digest, str(error)) from error
    if not isinstance(manifest, dict) or not {"recipe", "interpreter", "entries"} <= manifest.keys():
        raise _damaged(digest, "it has no entries")
    return manifest


def _damaged(digest: str, why: str) -> DamagedManifestError:
    hint = "hivebox rootfs build --force RECIPE"
    return DamagedManifestError(f"cannot read root filesystem {digest[:12]}", f"its manifest is damaged: {why}", hint)


def _walk(directory: str) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for entry in entries:
            yield entry.path
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)


def _row(path: str, real: str) -> stage.Row:
    """As ``stage.copy`` wrote it down, but of what is there now."""
    status = os.lstat(real)
    if stat.S_ISLNK(status.st_mode):
        return [path, "link", 0, 0, os.readlink(real)]
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        return [path, "dir", mode, 0, ""]
    if not stat.S_ISREG(status.st_mode):
        return [path, "other", mode, 0, ""]
    try:
        handle = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except PermissionError:  # then its mode differs, too
        return [path, "file", mode, 0, ""]
    try:
        return [path, "file", mode, *stage.hash_fd(handle)]
    finally:
        os.close(handle)


def _compare(expected: stage.Row, found: stage.Row) -> str:
    if expected[1] != found[1]:
        return "type"
    if expected[2] != found[2]:
        return "mode"
    return "" if expected == found else "changed"


def verify(digest: str) -> list[Difference]:
    """Every difference between a tree and its digest, sorted by path; [] when it is what the digest says. Reads all of
    it. The manifest is checked against the digest first, so whoever edits both is found as well."""
    try:
        rows = _manifest(digest)["entries"]
    except DamagedManifestError:
        return [Difference("changed", "")]
    if stage.digest_of(rows) != digest:
        return [Difference("changed", "")]
    expected = {row[0]: row for row in rows}
    tree = os.path.join(store.trees_dir(), digest)
    if not os.path.isdir(tree):
        return [Difference("missing", "/")]
    found = {real.removeprefix(tree): real for real in _walk(tree)}
    differences = [Difference("missing", path) for path in expected.keys() - found.keys()]
    differences += [Difference("added", path) for path in found.keys() - expected.keys()]
    for path in expected.keys() & found.keys():
        kind = _compare(expected[path], _row(path, found[path]))
        if kind:
            differences.append(Difference(kind, path))
    return sorted(differences, key=lambda difference: difference.path)


def _indexes() -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, content) of every index file."""
    directory = os.path.join(store.root_dir(), "index")
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        path = os.path.join(directory, name)
        index = store.read_index(path)
        if index is not None:
            yield path, index


def list_trees() -> list[TreeInfo]:
    """A tree whose manifest is damaged is listed, with what leads to it, and is never fresh: a build replaces it."""
    indexes = [index for _, index in _indexes()]
    trees = []
    for digest in digests():
        using = [index for index in indexes if index["tree"]["digest"] == digest]
        uses = tuple((index["asked"][0], index["asked"][1]) for index in using)
        try:
            manifest = _manifest(digest)
        except DamagedManifestError:
            trees.append(TreeInfo(digest, uses[0][0] if uses else "?", "", 0, 0, uses, fresh=False, damaged=True))
            continue
        sizes = [row[3] for row in manifest["entries"] if row[1] == "file"]
        fresh = any(map(store.is_fresh, using))
        trees.append(TreeInfo(digest, manifest["recipe"], manifest["interpreter"], sum(sizes), len(sizes), uses, fresh))
    return trees


def remove_unused(keep: Collection[str] = ()) -> list[str]:
    """Remove the trees that no recipe and interpreter leads to any more, except those in ``keep`` and those that a
    sandbox holds. Returns their digests."""
    removed = []
    with build.locked():
        build.remove_leftovers()
        for info in list_trees():
            if info.fresh or info.digest in keep or build.is_held(os.path.join(store.trees_dir(), info.digest)):
                continue
            build.discard(build.move_away(info.digest))
            removed.append(info.digest)
        for path, index in list(_indexes()):
            if index["tree"]["digest"] in removed:
                os.unlink(path)
    return removed
