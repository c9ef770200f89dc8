"""The predecessor's policy file as a profile: every key of it is mapped, or named as not mapped with the reason.

That program checked its rules inside the script's own process, from a list of what is bad. hivebox grants from a list
of what is needed, so most of its prohibitions hold without a word, and what it granted is granted only where the same
thing can be enforced: a network allowlist without ports cannot be, and so nothing of it is granted.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hivebox.errors import ProfileError
from hivebox.policy.bounds import LIMIT_RANGES
from hivebox.policy.document import Node, Text, parse
from hivebox.policy.grants import mount_mistake
from hivebox.policy.model import Mount

MAPPED, HOLDS, NOT_MAPPED = "mapped", "holds anyway", "not mapped"


class Row(NamedTuple):
    """One key of the old file, with one of its items for lists. ``verdict`` is ``mapped`` (to ``target``, a profile
    key), ``holds anyway`` (hivebox refuses it without being told) or ``not mapped``."""

    key: str
    value: str
    verdict: str
    target: str
    reason: str


class Imported(NamedTuple):
    """A profile as YAML, and what became of each key of the old file, in the order of that file."""

    profile: str
    rows: tuple[Row, ...]


class _Limit(NamedTuple):
    target: str
    field: str
    unit: str
    reason: str


_LIMITS = {
    "execution.timeout_seconds": _Limit("wall_time", "wall_time_s", "s", "enforced from outside the script"),
    "execution.cpu_seconds": _Limit("cpu_time", "cpu_time_s", "s", "of all its processes together"),
    "execution.memory_mb": _Limit("memory", "memory_bytes", "M", "of all its processes together, as used"),
    "execution.file_size_mb": _Limit("file_size", "file_size_bytes", "M", "of the largest single file"),
    "execution.max_processes": _Limit(
        "pids", "pids", "", "threads count; `extends: default` starts no processes, `extends: python` does"
    ),
}
_NO_ALERTS = "alerts are not part of a profile; the limits stop what this would have reported"
_RECORDED = "every run is recorded, and every refused call reported, whatever the profile says"
_NO_ANALYSIS = "a name in the source text says little; what the code does is refused by the kernel"
_FIXED = {
    "network.allowed_domains": (
        NOT_MAPPED,
        "it names no ports: NOT granted, the script has no network; write rules under network: allow",
    ),
    "network.blocked_ports": (HOLDS, "no port outside the sandbox can be reached"),
    "filesystem.blocked_operations": (
        HOLDS,
        "nothing but its own work directory can be changed; there the script may do as it likes",
    ),
    "monitoring.log_level": (NOT_MAPPED, "a matter of the caller, not of what a script may do"),
    "monitoring.max_stderr_length": (
        NOT_MAPPED,
        "it cut a log; limits.output_size ends the run instead, and counts stdout too: set it by hand",
    ),
    "monitoring.alert_thresholds.cpu_usage": (NOT_MAPPED, _NO_ALERTS),
    "monitoring.alert_thresholds.memory_usage": (NOT_MAPPED, _NO_ALERTS),
    "monitoring.alert_thresholds.execution_time": (NOT_MAPPED, _NO_ALERTS),
    "monitoring.security_events": (NOT_MAPPED, _RECORDED),
    "static_analysis.dangerous_modules": (NOT_MAPPED, _NO_ANALYSIS),
    "static_analysis.dangerous_functions": (NOT_MAPPED, _NO_ANALYSIS),
    "static_analysis.dangerous_methods": (NOT_MAPPED, _NO_ANALYSIS),
}
_PATHS = "filesystem.allowed_paths"
_KNOWN = (*_LIMITS, *_FIXED, _PATHS)
_WRITES = "read-only; move it to read_write, or to overlay, if the script must write there"


def import_policy(path: str, content: bytes) -> Imported:
    """Raises ProfileError for what is not YAML, or has none of the old file's keys; a value that cannot be used is a
    row, not an error."""
    root = parse(Text(path, content))
    if not any(_known(key) for key, _ in _leaves(root)):
        known = ", ".join(dict.fromkeys(key.partition(".")[0] for key in _KNOWN))
        raise ProfileError("not the predecessor's policy file", f"{path}: it has none of {known}", "check the path")
    rows = tuple(_once(row for key, node in _leaves(root) for row in _rows(key, node)))
    return Imported(_profile(path, rows), rows)


def _once(rows: Iterator[Row]) -> Iterator[Row]:
    """The old file may say a thing twice, under ``security:`` and beside it; a profile may not."""
    seen: set[str] = set()
    for row in rows:
        target = row.target.partition(":")[0] if row.target.startswith("limits.") else row.target
        if target and target in seen:
            yield row._replace(verdict=NOT_MAPPED, target="", reason=f"{target} is there already, from an earlier key")
        else:
            yield row
        seen.add(target)


def _leaves(root: Node) -> Iterator[tuple[str, Node]]:
    """Dotted key and value, without the root key ``security``. ``security_events`` is one key, whatever is in it."""
    for key, value in _entries(root):
        if key == "security" and value.kind == "map":
            yield from _nested("", value)
        else:
            yield from _nested(key, value)


def _nested(prefix: str, node: Node) -> Iterator[tuple[str, Node]]:
    if node.kind != "map" or not node.value:
        yield prefix or "security", node
        return
    for key, value in _entries(node):
        yield from _nested(f"{prefix}.{key}" if prefix else key, value)


def _entries(node: Node) -> Iterator[tuple[str, Node]]:
    if node.kind != "map":
        yield "", node
        return
    for key, value in node.value:
        # A key goes into a comment of the profile: a line end in it would start a line of its author's choice.
        yield (_printable(str(key.value)) if key.kind == "scalar" else "?"), value


def _rows(key: str, node: Node) -> Iterator[Row]:
    known = _known(key)
    if known in _LIMITS:
        yield _limit_row(key, _LIMITS[known], node)
    elif known == _PATHS:
        yield from _per_item(key, node, _path_row)
    elif known:
        verdict, reason = _FIXED[known]
        yield from _per_item(key, node, lambda item_key, item: Row(item_key, _shown(item), verdict, "", reason))
    elif any(other.startswith(key + ".") for other in _KNOWN):
        yield Row(key, _shown(node), NOT_MAPPED, "", "it says nothing")
    else:
        close = difflib.get_close_matches(key, _KNOWN, 1)
        hint = f"; did the file mean {close[0]}?" if close else ""
        yield Row(key, _shown(node), NOT_MAPPED, "", f"the predecessor had no such key{hint}")


def _known(key: str) -> str:
    """The known key that ``key`` is, or is inside of: ``security_events`` and lists of rules have keys of their own."""
    return next((known for known in _KNOWN if key == known or key.startswith(known + ".")), "")


def _per_item(key: str, node: Node, row: Callable[[str, Node], Row]) -> Iterator[Row]:
    if node.kind != "list" or not node.value:
        yield row(key, node)
        return
    for number, item in enumerate(node.value):
        yield row(f"{key}[{number}]", item)


def _limit_row(key: str, limit: _Limit, node: Node) -> Row:
    number = node.value if isinstance(node.value, int | float) and not isinstance(node.value, bool) else None
    factor = 1 << 20 if limit.unit == "M" else 1
    least, most = LIMIT_RANGES[limit.field]
    if number is None or not least <= number * factor <= most or (not limit.unit and number != int(number)):
        reason = "not a finite, positive number that can be enforced: the limit of `default` holds"
        return Row(key, _shown(node), NOT_MAPPED, "", reason)
    written = str(number) if isinstance(number, int) else f"{number:.6f}".rstrip("0").rstrip(".")
    return Row(key, _shown(node), MAPPED, f"limits.{limit.target}: {written}{limit.unit}", limit.reason)


def _path_row(key: str, node: Node) -> Row:
    path = node.value if isinstance(node.value, str) else ""
    plain = path.rstrip("/") or path
    if not path.startswith("/") or not path.isprintable() or any(sign in path for sign in "*?[~:$"):
        reason = "not one absolute path; write it out under filesystem: read_only"
        return Row(key, _shown(node), NOT_MAPPED, "", reason)
    if plain in ("/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108
        return Row(key, _shown(node), HOLDS, "", "the sandbox has its own, private to the run")
    mistake = mount_mistake(Mount(plain, plain, "read_only"))
    if mistake:
        return Row(key, _shown(node), NOT_MAPPED, "", mistake)
    return Row(key, _shown(node), MAPPED, f"filesystem.read_only: {_quoted(plain)}", _WRITES)


def _quoted(text: str) -> str:
    """A YAML string: JSON's are, but for its escapes of what is beyond the first plane."""
    return json.dumps(text, ensure_ascii=False)


def _shown(node: Node) -> str:
    if node.kind == "scalar":
        text = "" if node.value is None else json.dumps(node.value) if isinstance(node.value, bool) else str(node.value)
    else:
        text = {"list": "[]", "map": "{}"}[node.kind] if not node.value else f"({node.kind})"
    return _printable(text)


def _printable(text: str) -> str:
    shown = "".join(char if char.isprintable() else "?" for char in text)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _profile(path: str, rows: tuple[Row, ...]) -> str:
    title = f"Imported from {_printable(path.rpartition('/')[2])}"
    lines = [
        "# Made by `hivebox profile import`. Every number has the old key beside it; what could not be carried over",
        "# is listed at the end. `hivebox profile check FILE` and `explain FILE` say what it amounts to.",
        f"description: {_quoted(title)}",
        "extends: default",
    ]
    limits = {row.target.removeprefix("limits."): row for row in rows if row.target.startswith("limits.")}
    if limits:
        lines += ["", "limits:", *(f"  {target}  # {row.key}" for target, row in limits.items())]
    paths = {row.target.partition(": ")[2]: row for row in rows if row.target.startswith("filesystem.")}
    if paths:
        lines += ["", "filesystem:", "  read_only:", *(f"    - {target}  # {row.key}" for target, row in paths.items())]
    left = [row for row in rows if row.verdict != MAPPED]
    if left:
        lines += ["", "# Not carried over:", *(f"#   {row.key}: {row.value}  ({row.reason})" for row in left)]
    return "\n".join(lines) + "\n"
