"""``security_policy.yml`` -> Bounds. Every such file that is found applies; of each bound the most restrictive wins,
so that a user's own file can narrow what /etc/hivebox allows and never widen it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from hivebox.locations import config_dirs
from hivebox.policy.bounds import key_of
from hivebox.policy.decode import Setting, Settings, decode
from hivebox.policy.document import Text
from hivebox.policy.grants import is_within
from hivebox.policy.hosts import covers, covers_range
from hivebox.policy.model import Bounds, Limits
from hivebox.policy.schema import SecurityPolicyDocument

# Both endings: a file that its author believes in must not be ignored for its name.
_NAMES = ("security_policy.yml", "security_policy.yaml")
_LIST_FIELDS = {
    "rootfs.recipes": "recipes",
    "syscalls.groups": "groups",
    "syscalls.calls": "calls",
    "environment.pass": "pass_environment",
    "limits.without_cgroup": "without_cgroup",
    "network.dns": "dns",
}
_PATH_FIELDS = {"filesystem.read_only": "read_only", "filesystem.read_write": "read_write"}
_NETWORK_FIELDS = {"network.hosts": "hosts", "network.cidrs": "cidrs"}
_FLAGS = {"filesystem.work_exec": "work_exec", "network.host_loopback": "host_loopback"}
_LIMIT_FIELDS = {f"limits.{key_of(field)}": field for field in Limits._fields if field != "without_cgroup"}


def read_bounds(read: Callable[[str], bytes | None]) -> Bounds:
    """The merged bounds. ``read`` gives a file's content, or None where there is none. Raises ProfileError."""
    bounds = Bounds()
    for directory in reversed(config_dirs()):
        for name in _NAMES:
            path = os.path.join(directory, name)
            content = read(path)
            if content is not None:
                text = Text(path, content)
                bounds = _narrow(bounds, decode(text, SecurityPolicyDocument), text)
    return bounds


def _narrow(bounds: Bounds, settings: Settings, text: Text) -> Bounds:
    """``bounds`` and what one file says."""
    fields: dict[str, Any] = bounds._asdict()
    limits, origins = dict(bounds.limits), dict(bounds.origins)
    for key, setting in _closed(settings).items():
        place = text.place(setting.node.line)
        if key in _LIMIT_FIELDS:
            field = _LIMIT_FIELDS[key]
            if setting.value >= limits.get(field, float("inf")):
                continue  # another file allows less, and is the one to name
            limits[field] = setting.value
        elif key in _FLAGS:
            fields[_FLAGS[key]] = getattr(bounds, _FLAGS[key]) and setting.value
        else:
            place = f"{origins[key]} and {place}" if key in origins else place
            _narrow_list(fields, key, tuple(item.value for item in setting.value))
        origins[key] = place
    return Bounds(**{**fields, "limits": tuple(limits.items()), "origins": tuple(origins.items())})


def _closed(settings: Settings) -> Settings:
    """A file that bounds what may be read and says nothing of writing means that nothing may be written, one that
    bounds the groups that no call outside them may be granted, and one that bounds hosts or ranges of the network that
    nothing else of it may be named, nor a name server that says where a name leads: the way around a bound is closed
    with it."""
    closed = dict(settings)
    named = [key for key in ("network.hosts", "network.cidrs") if key in closed]
    others = ("network.hosts", "network.cidrs", "network.dns")
    for key, nothing in (*((other, ()) for other in others), ("network.host_loopback", False)):
        if named and key not in closed:
            closed[key] = Setting(nothing, closed[named[0]].node)
    for bound, around in (("filesystem.read_only", "filesystem.read_write"), ("syscalls.groups", "syscalls.calls")):
        if bound in closed and around not in closed:
            closed[around] = Setting((), closed[bound].node)
    if "filesystem.read_only" in closed:
        readable = closed["filesystem.read_only"]
        closed["filesystem.read_only"] = Setting(readable.value + closed["filesystem.read_write"].value, readable.node)
    return closed


def _narrow_list(fields: dict[str, Any], key: str, names: tuple[str, ...]) -> None:
    if key == "required":
        fields["required"] = _unique((*fields["required"], *names))
        return
    field = _LIST_FIELDS.get(key) or _NETWORK_FIELDS.get(key) or _PATH_FIELDS[key]
    before = fields[field]
    if before is None:
        fields[field] = _unique(names)
    elif key in _PATH_FIELDS:
        fields[field] = _common(before, names, lambda outer, inner: is_within(inner, outer))
    elif key in _NETWORK_FIELDS:
        fields[field] = _common(before, names, covers if field == "hosts" else covers_range)
    else:
        fields[field] = tuple(name for name in before if name in names)


def _common(some: tuple[str, ...], others: tuple[str, ...], covers: Callable[[str, str], bool]) -> tuple[str, ...]:
    """The directories, hosts or ranges that lie in one of each."""
    inside = [name for name in some if any(covers(other, name) for other in others)]
    inside += [name for name in others if any(covers(other, name) for other in some)]
    return _unique(inside)


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
