"""A profile, what it extends and security_policy.yml, made into one Policy. The slow way: ``load`` caches the result.

Single inheritance. A key of the extending profile replaces the same key of the extended one, lists included; variables
of ``environment: set`` are keys of their own; ``syscalls: add_groups`` appends.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from hivebox.errors import HiveboxError, ProfileError, from_os_error
from hivebox.policy.bounds import Excess, excesses, refuse_own_files
from hivebox.policy.document import Mark, did_you_mean, fail, parse, shorten
from hivebox.policy.load import Source, digest, is_path, profile_dirs, read_source
from hivebox.policy.model import (
    Bounds,
    Environment,
    Filesystem,
    Limits,
    Mount,
    Network,
    Outputs,
    Policy,
    Rootfs,
    Syscalls,
)
from hivebox.policy.schema import NAME, ProfileDocument, Setting, decode
from hivebox.policy.security import LIMIT_FIELDS, read_bounds

_DEEPEST = 8
_MODES = ("read_only", "read_write", "overlay")
Settings = dict[str, Setting]


class Composed(NamedTuple):
    """A policy and where its values come from: profile key (``limits.memory``, ``syscalls.groups[2]``) -> place.
    A key without a place is hivebox's own default."""

    policy: Policy
    marks: dict[str, Mark]
    bound_marks: dict[str, Mark]
    sources: tuple[Source, ...]


class _Reader:
    """Reads files and remembers what was there, missing ones too."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def read(self, path: str) -> bytes | None:
        try:
            content = read_source(path)
        except OSError as error:
            raise from_os_error(f"cannot read {path}", error, "make it readable for this user") from error
        self._seen[path] = digest(content)
        return content

    def sources(self) -> tuple[Source, ...]:
        return tuple(Source(path, sha256) for path, sha256 in self._seen.items())


def compile_profile(wanted: str) -> tuple[Policy, tuple[Source, ...]]:
    """The policy of a profile name or absolute path, and every file it depends on. Raises ProfileError."""
    composed = compose(wanted)
    return composed.policy, composed.sources


def compose(wanted: str) -> Composed:
    """As ``compile_profile``, with the places of all values."""
    reader = _Reader()
    name = os.path.splitext(os.path.basename(wanted))[0] if is_path(wanted) else wanted
    settings = _merged(_chain(wanted, reader))
    bounds, bound_marks = read_bounds(reader.read)
    policy = _capped(_policy(name, settings, bounds), settings)
    marks = {key: setting.mark for key, setting in settings.items()}
    for key, setting in settings.items():
        marks.update({f"{key}[{number}]": mark for number, mark in enumerate(setting.items)})
    marks.update(_mount_marks(settings))
    for excess in excesses(policy):
        _refuse(excess, marks, bound_marks, bounds)
    refuse_own_files(policy.filesystem.mounts)
    return Composed(policy, marks, bound_marks, reader.sources())


def available() -> dict[str, str]:
    """Every profile that can be named -> its file."""
    found: dict[str, str] = {}
    for directory in profile_dirs():
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue  # most of the searched directories do not exist
        for file in names:
            stem, suffix = os.path.splitext(file)
            if suffix == ".yaml" and re.fullmatch(NAME, stem):
                found.setdefault(stem, os.path.join(directory, file))
    return found


# --- finding ---------------------------------------------------------------------------------------------------------


def _chain(wanted: str, reader: _Reader) -> list[Settings]:
    """The profile's settings and those of what it extends, most general first."""
    path, content = _find(wanted, reader, "", None)
    chain: list[Settings] = []
    seen: list[str] = []
    while True:
        seen.append(path)
        settings = decode(parse(content, path), ProfileDocument)
        chain.insert(0, settings)
        extends = settings.pop("extends", None)
        if extends is None:
            return chain
        if len(seen) > _DEEPEST:
            fail(extends.mark, "too many profiles extend each other", f"more than {_DEEPEST}", "extend a nearer one")
        path, content = _find(extends.value, reader, path, extends.mark)
        if path in seen:
            fail(extends.mark, "profiles extend each other in a circle", " -> ".join([*seen, path]), "break the circle")


def _find(wanted: str, reader: _Reader, extending: str, mark: Mark | None) -> tuple[str, bytes]:
    if is_path(wanted):
        path = os.path.normpath(os.path.join(os.path.dirname(extending), wanted))
        content = reader.read(path)
        if content is None:
            _missing(mark, f"no such profile: {shorten(wanted)}", f"{path} does not exist", "check the path")
        return path, content
    if not re.fullmatch(NAME, wanted):
        why = "a name has letters, digits and . _ - only"
        _missing(mark, f"not a profile name: {shorten(wanted)}", why, "a path has a / in it")
    paths = [os.path.join(directory, wanted + ".yaml") for directory in profile_dirs()]
    # A profile may extend the one of its own name that it hides, as /etc/hivebox/profiles/default.yaml the shipped one.
    for path in paths[paths.index(extending) + 1 :] if extending in paths else paths:
        content = reader.read(path)
        if content is not None:
            return path, content
    why = f"looked in {', '.join(profile_dirs())}"
    _missing(mark, f"no such profile: {wanted}", why, did_you_mean(wanted, available()))
    raise AssertionError  # _missing always raises


def _missing(mark: Mark | None, what: str, why: str, hint: str) -> None:
    if mark:
        fail(mark, what, why, hint)
    raise ProfileError(what, why, hint)


# --- merging ---------------------------------------------------------------------------------------------------------


def _merged(chain: list[Settings]) -> Settings:
    merged: Settings = {}
    for settings in chain:
        added = settings.pop("syscalls.add_groups", None)
        merged.update(settings)
        if added:
            merged["syscalls.groups"] = _appended(merged.get("syscalls.groups"), added)
    return merged


def _appended(groups: Setting | None, added: Setting) -> Setting:
    if groups is None:
        default = Syscalls().groups
        groups = Setting(default, added.mark, (added.mark,) * len(default))
    pairs = [*zip(groups.value, groups.items, strict=True), *zip(added.value, added.items, strict=True)]
    unique = {name: mark for name, mark in reversed(pairs)}
    names = tuple(dict.fromkeys(name for name, _ in pairs))
    return Setting(names, added.mark, tuple(unique[name] for name in names))


def _policy(name: str, settings: Settings, bounds: Bounds) -> Policy:
    def section(prefix: str, **renamed: str) -> dict[str, object]:
        keys = {key.removeprefix(prefix + "."): setting.value for key, setting in settings.items()
                if key.startswith(prefix + ".")}  # fmt: skip
        return {renamed.get(key, key): value for key, value in keys.items()}

    filesystem = settings.get("filesystem.work_exec")
    return Policy(
        name=name,
        description=settings["description"].value if "description" in settings else "",
        rootfs=Rootfs(**section("rootfs")),  # type: ignore[arg-type]  # schema.decode has checked the types
        filesystem=Filesystem(_mounts(settings), bool(filesystem.value) if filesystem else False),
        network=Network(**section("network")),  # type: ignore[arg-type]
        syscalls=Syscalls(**section("syscalls")),  # type: ignore[arg-type]
        limits=Limits(**section("limits", **LIMIT_FIELDS)),  # type: ignore[arg-type]
        environment=Environment(
            tuple(section("environment.set").items()),  # type: ignore[arg-type]
            settings["environment.pass"].value if "environment.pass" in settings else (),
        ),
        outputs=Outputs(**section("outputs", max_size="max_size_bytes", max_time="max_time_s")),  # type: ignore[arg-type]
        optional=settings["optional"].value if "optional" in settings else (),
        bounds=bounds,
    )


def _mounts(settings: Settings) -> tuple[Mount, ...]:
    mounts: dict[str, Mount] = {}
    for mode in _MODES:
        setting = settings.get(f"filesystem.{mode}")
        if setting:
            for text, mark in zip(setting.value, setting.items, strict=True):
                mount = _mount(text, mode, mark)
                if mount.dest in mounts:
                    why = f"{mounts[mount.dest].mode} grants {mounts[mount.dest].source} there already"
                    fail(mark, f"two grants at {mount.dest}", why, "keep one of them")
                mounts[mount.dest] = mount
    return tuple(mounts.values())


def _mount(text: str, mode: str, mark: Mark) -> Mount:
    source, _, dest = text.partition(":")
    paths = [path.rstrip("/") or "/" for path in (source, dest or source)]
    for path in paths:
        if not path.startswith("/") or os.path.normpath(path) != path or not path.isprintable():
            fail(mark, f"not a plain path: {shorten(path)}", "expected an absolute path without . .. or //", "write it out")
    if paths[1] == "/":
        fail(mark, "cannot grant a path at /", "the root is rootfs: recipe", "give a destination: PATH:/DEST")
    return Mount(paths[0], paths[1], mode)


def _mount_marks(settings: Settings) -> dict[str, Mark]:
    marks = [mark for mode in _MODES for mark in settings[f"filesystem.{mode}"].items
             if f"filesystem.{mode}" in settings] if any(f"filesystem.{m}" in settings for m in _MODES) else []  # fmt: skip
    return {f"filesystem.mounts[{number}]": mark for number, mark in enumerate(marks)}


# --- bounding --------------------------------------------------------------------------------------------------------


def _capped(policy: Policy, settings: Settings) -> Policy:
    """Defaults that no file states come down to their bounds; what a file states and a bound forbids is an error."""
    limits = policy.limits._asdict()
    for key, field in LIMIT_FIELDS.items():
        largest = dict(policy.bounds.limits).get(field)
        if largest is not None and f"limits.{key}" not in settings:
            limits[field] = type(limits[field])(min(largest, limits[field] or largest))
    bounds = policy.bounds
    if "limits.without_cgroup" not in settings and ("poll" not in bounds.without_cgroup or "cgroup" in bounds.required):
        limits["without_cgroup"] = "refuse"
    return policy._replace(limits=Limits(**limits))


def _refuse(excess: Excess, marks: dict[str, Mark], bound_marks: dict[str, Mark], bounds: Bounds) -> None:
    mark = marks.get(excess.field) or marks.get(excess.field.partition("[")[0])
    bound = bound_marks.get(excess.bound)
    place = bound.place if bound else bounds.source
    what = f"{excess.field} is above what this host allows"
    why = f"asked for {excess.asked}; {place} allows {excess.allowed}"
    hint = "ask for less, or have the administrator change security_policy.yml"
    if mark:
        fail(mark, what, why, hint)
    raise HiveboxError(what, why, hint)
