"""security_policy.yml: what an administrator lets any profile or command line grant.

All files found apply, and of each bound the most restrictive: a user's own file can narrow what the system's allows,
never widen it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hivebox.locations import SYSTEM_CONFIG, config_dirs
from hivebox.policy.bounds import is_below
from hivebox.policy.document import Mark, fail, parse
from hivebox.policy.model import Bounds
from hivebox.policy.schema import SecurityDocument, Setting, decode

Read = Callable[[str], bytes | None]
# Both suffixes: a file that the administrator believes in must not be ignored for its name.
_NAMES = ("security_policy.yml", "security_policy.yaml")
LIMIT_FIELDS = {
    "wall_time": "wall_time_s",
    "cpu_time": "cpu_time_s",
    "memory": "memory_bytes",
    "pids": "pids",
    "cpus": "cpus",
    "file_size": "file_size_bytes",
    "open_files": "open_files",
    "workdir_size": "workdir_size_bytes",
    "workdir_inodes": "workdir_inodes",
    "output_size": "output_size_bytes",
}
_LISTS = {
    "syscalls.groups": "groups",
    "syscalls.calls": "calls",
    "rootfs.recipes": "recipes",
    "environment.pass": "pass_environment",
    "limits.without_cgroup": "without_cgroup",
}
_DIRECTORIES = {"filesystem.read_only": "read_only", "filesystem.read_write": "read_write"}


def candidates() -> tuple[str, ...]:
    """Every place where the file may be, the system's first."""
    directories = dict.fromkeys((SYSTEM_CONFIG, *config_dirs()))
    return tuple(os.path.join(directory, name) for directory in directories for name in _NAMES)


def read_bounds(read: Read) -> tuple[Bounds, dict[str, Mark]]:
    """The merged bounds, and for each key the place of the value that won. ``read`` returns None for a missing file."""
    bounds, marks, found = Bounds(), {}, []
    for path in candidates():
        content = read(path)
        if content is not None:
            found.append(path)
            settings = _implied(decode(parse(content, path), SecurityDocument))
            for key, setting in settings.items():
                narrowed = _narrow(bounds, key, setting)
                if narrowed != bounds or key not in marks:
                    marks[key] = setting.mark
                bounds = narrowed
    return bounds._replace(source=", ".join(found)), marks


def _implied(settings: dict[str, Setting]) -> dict[str, Setting]:
    """A bound that says less than it seems to would be walked around: the wider grant by the same name is closed too,
    unless the file speaks of it."""
    for stated, wider in (("filesystem.read_only", "filesystem.read_write"), ("syscalls.groups", "syscalls.calls")):
        if stated in settings and wider not in settings:
            settings[wider] = Setting((), settings[stated].mark)
    return settings


def _narrow(bounds: Bounds, key: str, setting: Setting) -> Bounds:
    value: Any = setting.value
    section, _, word = key.partition(".")
    if section == "limits" and word in LIMIT_FIELDS:
        limits = dict(bounds.limits)
        field = LIMIT_FIELDS[word]
        limits[field] = min(value, limits.get(field, value))
        return bounds._replace(limits=tuple(sorted(limits.items())))
    if key in _LISTS:
        before = getattr(bounds, _LISTS[key])
        return bounds._replace(**{_LISTS[key]: tuple(item for item in value if before is None or item in before)})
    if key in _DIRECTORIES:
        return bounds._replace(**{_DIRECTORIES[key]: _directories(setting, getattr(bounds, _DIRECTORIES[key]))})
    if key == "filesystem.work_exec":
        return bounds._replace(work_exec=bounds.work_exec and value)
    return bounds._replace(required=tuple(sorted({*bounds.required, *value})))


def _directories(setting: Setting, before: tuple[str, ...] | None) -> tuple[str, ...]:
    for path, mark in zip(setting.value, setting.items, strict=False):
        if os.path.normpath(path) != path.rstrip("/") and path != "/":
            fail(mark, f"not a plain path: {path!r}", "expected an absolute path without . .. or //", "write it out")
    mine = tuple(path.rstrip("/") or "/" for path in setting.value)
    if before is None:
        return mine
    below = [path for path in mine if any(is_below(path, directory) for directory in before)]
    below += [path for path in before if any(is_below(path, directory) for directory in mine)]
    return tuple(dict.fromkeys(below))
