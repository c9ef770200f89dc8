"""What may be written in a profile and in security_policy.yml: keys, types, and what to say when they are wrong.

The structs are the schema: ``decode`` checks files against them, ``json_schema`` prints them for editors. A leaf's
``Meta.extra`` holds ``expected`` (for the error) and ``read``, which turns what is written into what the policy holds
or raises HiveboxError.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from hivebox.errors import HiveboxError
from hivebox.policy.bounds import LIMIT_RANGES
from hivebox.policy.grants import path_mistake
from hivebox.policy.load import check_variable
from hivebox.policy.model import CONTROLS
from hivebox.policy.syscall_groups import GROUPS
from hivebox.policy.syscall_numbers import all_names
from hivebox.units import parse_duration, parse_size

_SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)? ?([KMGT]i?)?B?$"
_DURATION_PATTERN = r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|min|h|d)?$"


def did_you_mean(name: str, known: Any) -> str:
    """A hint: the nearest known name, or all of them when they are few."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1)
    if close:
        return f"did you mean {close[0]}?"
    return f"one of {', '.join(names)}" if len(names) <= 16 else ""  # noqa: PLR2004  # what fits on a line or two


def _read_group(name: str) -> str:
    if name not in GROUPS:
        raise HiveboxError(f"no such group of system calls: {name}", "", did_you_mean(name, GROUPS))
    return name


def _read_call(name: str) -> str:
    if name not in all_names():
        raise HiveboxError(f"no such system call: {name}", "", did_you_mean(name, all_names()))
    return name


def _read_path(path: str) -> str:
    mistake = path_mistake(path)
    if mistake:
        raise HiveboxError(mistake, "", "write an absolute path, as /srv/data")
    return path


def _read_grant(text: str) -> tuple[str, str]:
    """``PATH`` or ``PATH:DEST`` -> both."""
    source, _, dest = text.partition(":")
    return _read_path(source), _read_path(dest or source)


def _read_variable(name: str) -> str:
    check_variable(name)
    return name


def _read_value(value: str) -> str:
    if "\0" in value:
        raise HiveboxError("a variable cannot hold a NUL character", "", "remove \\0")
    return value


def _read_recipe(name: str) -> str:
    if not name or not all(c.isalnum() or c in "-_." for c in name) or name.startswith("."):
        raise HiveboxError(f"not the name of a recipe: {name!r}", "", "python, shell, node and host come with hivebox")
    return name


def _within(field: str, read: Any) -> Any:
    """``read``, then the range that hivebox can apply."""
    least, most = LIMIT_RANGES[field]

    def checked(value: Any) -> Any:
        result = read(value)
        if not least <= result <= most:
            raise HiveboxError(f"{value!r} is out of range", "", f"from {least:g} to {most:g}")
        return result

    return checked


def _read_cpus(value: float | str) -> float:
    return 0.0 if value == "all" else _within("cpus", float)(value)


_SIZE = {"pattern": _SIZE_PATTERN, "examples": ["64M", "1.5G"]}
_TIME = {"pattern": _DURATION_PATTERN, "examples": ["10s", "5m"]}
_A_SIZE = "a size, as 64M or 1.5G"
_A_TIME = "a duration, as 10s or 5m"

Size = Annotated[int | str, Meta(extra_json_schema=_SIZE, extra={"expected": _A_SIZE, "read": parse_size})]
Duration = Annotated[
    int | float | str, Meta(extra_json_schema=_TIME, extra={"expected": _A_TIME, "read": parse_duration})
]
Count = Annotated[int, Meta(ge=1, le=1_000_000, extra={"expected": "a whole number from 1 to 1000000"})]
Flag = Annotated[bool, Meta(extra={"expected": "true or false"})]
Line = Annotated[str, Meta(extra={"expected": "a text"})]
Recipe = Annotated[str, Meta(extra={"expected": "the name of a recipe", "read": _read_recipe})]
Path = Annotated[str, Meta(pattern="^/", extra={"expected": "an absolute path", "read": _read_path})]
Grant = Annotated[
    str, Meta(pattern="^/", extra={"expected": "an absolute PATH or PATH:DEST", "read": _read_grant})
]
GroupName = Annotated[
    str,
    Meta(extra_json_schema={"enum": sorted(GROUPS)}, extra={"expected": 'a group, as "@base"', "read": _read_group}),
]
Call = Annotated[str, Meta(extra={"expected": "the name of a system call", "read": _read_call})]
Variable = Annotated[str, Meta(extra={"expected": "the name of a variable", "read": _read_variable})]
Value = Annotated[str, Meta(extra={"expected": 'a text (quote numbers: "1")', "read": _read_value})]
Control = Annotated[
    Literal["landlock"], Meta(extra={"expected": f"the name of a control: {', '.join(CONTROLS)}"})
]
WithoutCgroup = Annotated[Literal["refuse", "poll"], Meta(extra={"expected": "refuse or poll"})]
NetworkMode = Annotated[
    Literal["none"], Meta(extra={"expected": "none: this version has no other network than an empty one"})
]


def _meta(field: str, kind: str, schema: dict[str, Any], expected: str, read: Any) -> Meta:
    return Meta(description=kind, extra_json_schema=schema, extra={"expected": expected, "read": _within(field, read)})
