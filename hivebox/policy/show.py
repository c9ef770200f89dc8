"""A policy written out as a profile that extends nothing: read again, it is the same policy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hivebox.policy.bounds import OFF_FIELDS, key_of
from hivebox.policy.model import Allow, Policy

# What needs no quotes: words, and numbers with a unit.
_PLAIN = re.compile(r"[a-z_]+|[0-9.]+[KMGTs]")
_NOT_TEXT = ("true", "false", "null")
_SIZES = (("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10))


def to_yaml(policy: Policy, origins: Mapping[str, str]) -> str:
    """With a comment for the place of each value. ``origins`` as in ``profile.Compiled``."""
    lines: list[str] = []
    for section, keys in _sections(policy).items():
        if not isinstance(keys, dict):
            lines += _entry("", section, keys, origins)
            continue
        lines.append(f"{section}:")
        for key, value in keys.items():
            lines += _entry(f"{section}.", key, value, origins)
    return "\n".join(lines) + "\n"


def _sections(policy: Policy) -> dict[str, Any]:
    """Keys and values as a profile has them; a list is written one item a line."""
    grants: dict[str, Any] = {mode: [] for mode in ("read_only", "read_write", "overlay")}
    for mount in policy.filesystem.mounts:
        path = mount.source if mount.dest == mount.source else f"{mount.source}:{mount.dest}"
        grants[mount.mode].append((mount.source, path))
    syscalls = policy.syscalls
    return {
        "description": policy.description,
        "rootfs": {key: value for key, value in policy.rootfs._asdict().items() if value},
        "filesystem": {**grants, "work_exec": policy.filesystem.work_exec},
        "network": {
            "mode": policy.network.mode,
            "allow": [(rule.text(), _rule(rule)) for rule in policy.network.allow],
            "dns": [(server, server) for server in policy.network.dns] or "host",
        },
        "syscalls": {
            **{key: [(name, name) for name in getattr(syscalls, key)] for key in ("groups", "allow", "deny")},
            "kill_after": syscalls.kill_after,
        },
        "limits": {key_of(field): _measure(field, value) for field, value in policy.limits._asdict().items()},
        "environment": {
            "set": dict(policy.environment.set),
            "pass": [(name, name) for name in policy.environment.passed],
        },
        "outputs": {key_of(field): _measure(field, value) for field, value in policy.outputs._asdict().items()},
        "optional": [(name, name) for name in policy.optional],
    }


def _rule(rule: Allow) -> dict[str, Any]:
    """The keys that say something."""
    defaults = Allow()._asdict()
    fields = {field: value for field, value in rule._asdict().items() if value != defaults[field]}
    names = {"rate_bytes_s": "rate"}
    return {names.get(field, field): list(value) if field == "ports" else value for field, value in fields.items()}


def _measure(field: str, value: Any) -> Any:
    """Exact, unlike units.format_size: this is read again."""
    if field in OFF_FIELDS and not value:
        return "all"
    if field.endswith("_ops_s"):
        return value
    if field.endswith("_s") and not field.endswith("_bytes_s"):
        return f"{int(value)}s" if value == int(value) else f"{value!r}s" if value >= 1e-3 else value
    if field.endswith(("_bytes", "_bytes_s")):
        return next((f"{value // factor}{unit}" for unit, factor in _SIZES if value % factor == 0), value)
    return value


def _entry(section: str, key: str, value: Any, origins: Mapping[str, str]) -> Iterator[str]:
    indent = "  " if section else ""
    place = origins.get(section + key)
    comment = f"  # {place}" if place else "  # hivebox default"
    if isinstance(value, list) and value:
        yield f"{indent}{key}:"
        for name, text in value:
            yield f"{indent}  - {_scalar(text)}{_comment(origins, f'{section}{key}.{name}', place)}"
    elif isinstance(value, dict) and value:
        yield f"{indent}{key}:"
        for name, text in value.items():
            yield f"{indent}  {_quoted(name)}: {_quoted(text)}{_comment(origins, f'{section}{key}.{name}', place)}"
    else:
        yield f"{indent}{key}: {_scalar(value)}{comment}"


def _comment(origins: Mapping[str, str], key: str, otherwise: str | None) -> str:
    place = origins.get(key) or otherwise
    return f"  # {place}" if place else "  # hivebox default"


def _scalar(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    return value if _PLAIN.fullmatch(value) and value not in _NOT_TEXT else _quoted(value)


def _quoted(text: str) -> str:
    """JSON's strings are YAML's, but for its escapes of what is beyond the first plane."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\x7f")
