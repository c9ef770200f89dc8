"""A profile, what it extends, and security_policy.yml, made into one Policy. The slow way: ``load`` keeps the result.

Single inheritance. What the extending profile says replaces what the extended one says, whole lists too; variables
under ``environment: set`` are merged by name; ``syscalls: add_groups`` appends to the groups so far.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from hivebox.errors import HiveboxError, ProfileError
from hivebox.locations import config_dirs, shipped_dir
from hivebox.policy.bounds import enforce_bounds, key_of
from hivebox.policy.decode import Item, Setting, Settings, decode
from hivebox.policy.document import Mistake, Text
from hivebox.policy.grants import mount_mistake
from hivebox.policy.hosts import MOST_SERVERS, check_rules
from hivebox.policy.load import is_path
from hivebox.policy.model import (
    Allow,
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
from hivebox.policy.schema import ProfileDocument, did_you_mean
from hivebox.policy.security_policy import read_bounds
from hivebox.policy.sources import Reader, Source

_DEEPEST = 8
_MODES = ("read_only", "read_write", "overlay")
_LISTS = ("syscalls.groups", "syscalls.allow", "syscalls.deny", "environment.pass", "optional")
_SUFFIX = ".yaml"


class Compiled(NamedTuple):
    """``origins`` maps dotted keys (``limits.memory``; for an item of a list, ``syscalls.groups.@exec``) to
    "file:line", of security_policy.yml where that lowered a limit. What is not there is a default of hivebox itself."""

    policy: Policy
    sources: tuple[Source, ...]
    origins: dict[str, str]


def compile_profile(wanted: str) -> Compiled:
    """``wanted`` is a name or an absolute path. Raises ProfileError."""
    reader = Reader()
    merged = _Merged()
    for text, settings in _chain(wanted, reader):
        merged.add(text, settings)
    bounds = read_bounds(reader.read)
    name = os.path.basename(wanted)
    policy = _policy(name, merged, bounds)
    _check_mounts(merged)
    enforce_bounds(policy, merged.origins)
    places = dict(bounds.origins)
    origins = {**merged.origins, **{key: places[key] for key in _lowered(merged, policy.limits)}}
    return Compiled(policy, reader.sources(), origins)


def available() -> dict[str, str]:
    """Every profile that can be named -> its file."""
    found: dict[str, str] = {}
    for directory in _directories():
        try:
            names = sorted(os.listdir(directory))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        for name in names:
            if name.endswith(_SUFFIX) and not name.startswith("."):
                found.setdefault(name.removesuffix(_SUFFIX), os.path.join(directory, name))
    return dict(sorted(found.items()))


def _directories() -> tuple[str, ...]:
    return (*(os.path.join(base, "profiles") for base in config_dirs()), shipped_dir("profiles"))


# --- finding ---------------------------------------------------------------------------------------------------------


def _chain(wanted: str, reader: Reader) -> list[tuple[Text, Settings]]:
    """The profile and what it extends, the most general first."""
    chain: list[tuple[Text, Settings]] = []
    paths: list[str] = []
    path, content = _find(wanted, reader, paths)
    while True:
        text = Text(path, content)
        settings = decode(text, ProfileDocument)
        chain.insert(0, (text, settings))
        paths.append(path)
        extends = settings.pop("extends", None)
        if extends is None:
            return chain
        try:
            path, content = _find(_relative(extends.value, path), reader, paths)
        except ProfileError as error:
            raise _at(text, extends, f"extends: {error.what}", error.hint) from error
        if path in paths:
            circle = " -> ".join(os.path.basename(path) for path in (*paths, path))
            raise _at(text, extends, f"extends: profiles extend each other in a circle: {circle}", "break the circle")
        if len(paths) >= _DEEPEST:
            raise _at(text, extends, f"extends: more than {_DEEPEST} profiles extend each other", "extend a nearer one")


def _relative(extends: str, path: str) -> str:
    return os.path.normpath(os.path.join(os.path.dirname(path), extends)) if is_path(extends) else extends


def _find(wanted: str, reader: Reader, extending: list[str]) -> tuple[str, bytes]:
    """Where it is, and its content. A name already in use means the next file of that name: /etc/hivebox's own
    ``default`` can extend the shipped one."""
    if is_path(wanted):
        content = reader.read(wanted)
        if content is None:
            raise ProfileError(f"no such profile: {wanted}", "no file is there", "check the path")
        return wanted, content
    candidates = [os.path.join(directory, wanted + _SUFFIX) for directory in _directories()]
    tried = [path for path in candidates if path in extending]
    for path in candidates[candidates.index(tried[-1]) + 1 if tried else 0 :]:
        content = reader.read(path)
        if content is not None:
            return path, content
    if tried:
        return tried[-1], b""  # the caller reports the circle
    why = f"looked for {wanted}{_SUFFIX} in {', '.join(_directories())}"
    raise ProfileError(f"no such profile: {wanted!r}", why, did_you_mean(wanted, available()))


def _at(text: Text, setting: Setting, what: str, hint: str) -> ProfileError:
    node = setting.node
    return text.error([Mistake(what, node.line, node.column, node.width, hint)])


# --- merging ---------------------------------------------------------------------------------------------------------


class _Merged:
    """The settings of a chain, and where each was last written."""

    def __init__(self) -> None:
        self.settings: Settings = {}
        self.texts: dict[str, Text] = {}
        self.origins: dict[str, str] = {}

    def add(self, text: Text, settings: Settings) -> None:
        """One more file, which extends all before it."""
        for key, setting in settings.items():
            if key not in ("syscalls.add_groups", "environment.set"):
                self._forget(key)
                self._put(key, setting, text)
        for key, added in (("syscalls.groups", "syscalls.add_groups"), ("environment.set", "environment.set")):
            if added in settings:
                self._append(key, settings[added], text)

    def is_shipped(self, key: str) -> bool:
        """Whether it was last written in a profile that comes with hivebox."""
        return os.path.dirname(self.texts[key].path) == shipped_dir("profiles")

    def get(self, key: str, default: Any) -> Any:
        """The value of a scalar."""
        return self.settings[key].value if key in self.settings else default

    def values(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The values of a list, each once."""
        if key not in self.settings:
            return default
        return tuple(dict.fromkeys(item.value for item in self.settings[key].value))

    def _append(self, key: str, setting: Setting, text: Text) -> None:
        items: tuple[Item, ...]
        if key in self.settings:
            items = self.settings[key].value
        else:
            items = tuple(Item(name, setting.node) for name in Syscalls().groups) if key == "syscalls.groups" else ()
        names = {item.name or item.value for item in setting.value}
        kept = tuple(item for item in items if (item.name or item.value) not in names)
        before = dict(self.origins)
        self._put(key, setting, text)
        self.settings[key] = Setting((*kept, *setting.value), setting.node)
        self.origins.update({name: before[name] for name in (f"{key}.{item.value}" for item in kept) if name in before})

    def _put(self, key: str, setting: Setting, text: Text) -> None:
        self.settings[key] = setting
        self.texts[key] = text
        self.origins[key] = text.place(setting.node.line)
        if isinstance(setting.value, tuple):
            for item in setting.value:
                self.origins[f"{key}.{_item_key(item)}"] = text.place(item.node.line)

    def _forget(self, key: str) -> None:
        for old in [name for name in self.origins if name.startswith(key + ".")]:
            del self.origins[old]


def _item_key(item: Item) -> str:
    """A grant goes by its source, a variable by its name, a rule of the network as --allow-net spells it."""
    if isinstance(item.value, Allow):
        return item.value.text()
    return item.name or (item.value[0] if isinstance(item.value, tuple) else str(item.value))


def _policy(name: str, merged: _Merged, bounds: Bounds) -> Policy:
    environment = merged.settings.get("environment.set")
    return Policy(
        name=name,
        description=merged.get("description", ""),
        rootfs=Rootfs(
            recipe=merged.get("rootfs.recipe", Rootfs().recipe), interpreter=merged.get("rootfs.interpreter", "")
        ),
        filesystem=Filesystem(
            mounts=tuple(mount for mount, _, _ in _mounts(merged)),
            work_exec=merged.get("filesystem.work_exec", False),
        ),
        network=_network(merged),
        syscalls=Syscalls(
            groups=merged.values("syscalls.groups", Syscalls().groups),
            allow=merged.values("syscalls.allow"),
            deny=merged.values("syscalls.deny"),
            kill_after=merged.get("syscalls.kill_after", Syscalls().kill_after),
        ),
        limits=_limits(merged, bounds),
        environment=Environment(
            set=tuple((item.name, item.value) for item in environment.value) if environment else (),
            passed=merged.values("environment.pass"),
        ),
        outputs=Outputs(
            **{field: merged.get(f"outputs.{key_of(field)}", value) for field, value in Outputs()._asdict().items()}
        ),
        optional=merged.values("optional"),
        bounds=bounds,
    )


def _network(merged: _Merged) -> Network:
    """Without ``mode: allow`` there is nothing: a profile that extends one with rules can switch them off."""
    allow: tuple[Allow, ...] = ()
    if "network.allow" in merged.settings:
        setting = merged.settings["network.allow"]
        allow = tuple(dict.fromkeys(item.value for item in setting.value))
        text = merged.texts["network.allow"]
        try:
            check_rules(allow)
        except HiveboxError as error:
            raise _at(text, setting, f"network.allow: {error.what}", error.hint) from error
        if allow and "network.mode" not in merged.settings:
            raise _at(text, setting, "network.allow: rules without mode: allow", "write mode: allow beside them")
    mode = merged.get("network.mode", Network().mode)
    return Network(mode, allow if mode == "allow" else (), _name_servers(merged))


def _name_servers(merged: _Merged) -> tuple[str, ...]:
    """Empty for the host's own configuration."""
    if merged.get("network.dns", "host") == "host":
        return ()
    servers = merged.values("network.dns")
    if not 0 < len(servers) <= MOST_SERVERS:
        what = f"network.dns: {len(servers)} name servers, and from 1 to {MOST_SERVERS} can be asked"
        raise _at(merged.texts["network.dns"], merged.settings["network.dns"], what, "write host for the host's own")
    return servers


def _limits(merged: _Merged, bounds: Bounds) -> Limits:
    """What nobody here wrote, a default of hivebox or of a shipped profile, comes down to its bound; what an
    administrator or a user wrote and exceeds it is an error later."""
    fields = Limits()._asdict()
    stated = {field for field in fields if f"limits.{key_of(field)}" in merged.settings}
    fields.update({field: merged.get(f"limits.{key_of(field)}", None) for field in stated})
    ours = {field for field in fields if field not in stated or merged.is_shipped(f"limits.{key_of(field)}")}
    for field, most in bounds.limits:
        if field in ours:
            fields[field] = type(fields[field])(min(fields[field] or most, most))
    if "without_cgroup" in ours and fields["without_cgroup"] not in bounds.without_cgroup and bounds.without_cgroup:
        fields["without_cgroup"] = bounds.without_cgroup[0]
    return Limits(**fields)


def _lowered(merged: _Merged, limits: Limits) -> Iterator[str]:
    """Those that security_policy.yml brought down: it says what they are, not the line that states them."""
    for field, default in Limits()._asdict().items():
        key = f"limits.{key_of(field)}"
        if getattr(limits, field) != merged.get(key, default):
            yield key


def _mounts(merged: _Merged) -> Iterator[tuple[Mount, str, Item]]:
    """(mount, its key, the item that says so)."""
    for mode in _MODES:
        key = f"filesystem.{mode}"
        if key in merged.settings:
            for item in merged.settings[key].value:
                source, dest = item.value
                yield Mount(source, dest, mode), key, item


def _check_mounts(merged: _Merged) -> None:
    """As grants.check_grants does for every policy, with the place."""
    taken: dict[str, str] = {}
    for mount, key, item in _mounts(merged):
        text = merged.texts[key]
        mistake = mount_mistake(mount)
        if mount.dest in taken:
            mistake = f"{mount.dest} is granted twice, by {taken[mount.dest]} too"
        if mistake:
            node = item.node
            hint = "grant less, or mount it elsewhere: PATH:DEST"
            raise text.error([Mistake(f"{key}: {mistake}", node.line, node.column, node.width, hint)])
        taken[mount.dest] = f"{key} ({text.place(item.node.line)})"
