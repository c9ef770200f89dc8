"""Nodes of a document against the structs of ``schema``: flat settings, or every mistake of the file at once."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import msgspec

from hivebox.errors import HiveboxError
from hivebox.policy.document import Mistake, Node, Text, parse
from hivebox.policy.schema import did_you_mean


class Item(NamedTuple):
    """One element of a list, or one entry of a mapping of free names (``name``). ``node`` is where it is written."""

    value: Any
    node: Node
    name: str = ""


class Setting(NamedTuple):
    """What a file says for one dotted key, as ``limits.memory``. ``value`` is what ``schema`` reads it as; for lists
    and mappings of free names it is a tuple of Items. ``node`` is where, for errors found later."""

    value: Any
    node: Node


Settings = dict[str, Setting]


def decode(text: Text, document: type[msgspec.Struct]) -> Settings:
    """Raises ProfileError with all mistakes."""
    decoder = _Decoder()
    decoder.section(parse(text), document, "")
    if decoder.mistakes:
        raise text.error(decoder.mistakes)
    return decoder.settings


class _Decoder:
    def __init__(self) -> None:
        self.settings: Settings = {}
        self.mistakes: list[Mistake] = []

    def section(self, node: Node, struct: type[msgspec.Struct], prefix: str) -> None:
        if node.kind != "map":
            what = f"{prefix.rstrip('.') or 'a profile'}: expected keys and values, got {_seen(node)}"
            self._mistake(node, what, "remove it, or write keys below it")
            return
        hints = typing.get_type_hints(struct, include_extras=True)
        known = {field.encode_name: hints[field.name] for field in msgspec.structs.fields(struct)}
        for key, value in self._entries(node):
            if key not in known:
                where = f" in {prefix.rstrip('.')}" if prefix else ""
                self._mistake(value[0], f"unknown key {_brief(key)}{where}", did_you_mean(key, known))
                continue
            self._value(value[1], _without_unset(known[key]), prefix + key)

    def _entries(self, node: Node) -> Iterator[tuple[str, tuple[Node, Node]]]:
        """Each key once: of two, YAML readers silently take one, and people read the other."""
        lines: dict[str, int] = {}
        for key, value in node.value:
            if key.kind != "scalar" or not isinstance(key.value, str):
                self._mistake(key, f"expected the name of a key, got {_seen(key)}", "quote it if it is a name")
            elif key.value in lines:
                what = f"{_brief(key.value)} is given twice"
                self._mistake(key, what, f"the first is on line {lines[key.value]}: keep one")
            else:
                lines[key.value] = key.line
                yield key.value, (key, value)

    def _value(self, node: Node, kind: Any, key: str) -> None:
        if typing.get_origin(kind) in (typing.Union, types.UnionType):
            kind, node = _alternative(typing.get_args(kind), node)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            self.section(node, kind, key + ".")
        elif typing.get_origin(kind) is tuple:
            self._list(node, typing.get_args(kind)[0], key)
        elif typing.get_origin(kind) is dict:
            self._mapping(node, typing.get_args(kind), key)
        else:
            read = self._leaf(node, kind, key)
            if read:
                self.settings[key] = Setting(read[0], node)

    def _list(self, node: Node, kind: Any, key: str) -> None:
        if node.kind != "list":
            self._mistake(node, f"{key}: expected a list, got {_seen(node)}", "write [] around it, or [] for none")
            return
        each = self._entry if "entry" in _extra(kind) else self._leaf
        read = [(item, each(item, kind, key)) for item in node.value]
        items = tuple(Item(value[0], item) for item, value in read if value)
        self.settings[key] = Setting(items, node)

    def _entry(self, node: Node, kind: Any, key: str) -> tuple[Any] | None:
        """Keys and values that are one item of a list."""
        inner = _Decoder()
        inner.section(node, typing.get_args(kind)[0], key + ".")
        if inner.mistakes:
            self.mistakes += inner.mistakes
            return None
        given = {
            name.removeprefix(key + "."): tuple(item.value for item in setting.value)
            if isinstance(setting.value, tuple)
            else setting.value
            for name, setting in inner.settings.items()
        }
        try:
            return (_extra(kind)["entry"](given),)
        except HiveboxError as error:
            self._mistake(node, f"{key}: {error.what}", error.hint or error.why)
            return None

    def _mapping(self, node: Node, kinds: tuple[Any, Any], key: str) -> None:
        if node.kind != "map":
            self._mistake(node, f"{key}: expected names and values, got {_seen(node)}", "write {} for none")
            return
        items = []
        for name, (name_node, value_node) in self._entries(node):
            checked = self._leaf(name_node, kinds[0], key)
            value = self._leaf(value_node, kinds[1], f"{key}.{name}")
            if checked and value:
                items.append(Item(value[0], name_node, name))
        self.settings[key] = Setting(tuple(items), node)

    def _leaf(self, node: Node, kind: Any, key: str) -> tuple[Any] | None:
        """The value in a tuple, since it may be False or None; None after a mistake."""
        extra = _extra(kind)
        try:
            value = msgspec.convert(node.value if node.kind == "scalar" else [], kind)
            return (extra["read"](value) if "read" in extra else value,)
        except msgspec.ValidationError:
            self._mistake(node, f"{key}: expected {extra['expected']}, got {_seen(node)}", _quoting(node, kind))
        except HiveboxError as error:
            self._mistake(node, f"{key}: {error.what}", error.hint or error.why)
        return None

    def _mistake(self, node: Node, what: str, hint: str = "") -> None:
        self.mistakes.append(Mistake(what, node.line, node.column, node.width, hint))


def _alternative(kinds: tuple[Any, ...], node: Node) -> tuple[Any, Node]:
    """Of a list or nothing, or a word or a list, the one that is written."""
    if type(None) in kinds and node.kind == "scalar" and node.value is None:
        node = node._replace(kind="list", value=())
    parts = [kind for kind in kinds if kind is not type(None)]
    lists = [kind for kind in parts if typing.get_origin(kind) is tuple]
    return (lists if node.kind == "list" and lists else parts)[0], node


def _without_unset(kind: Any) -> Any:
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return kind
    left = tuple(part for part in typing.get_args(kind) if part is not msgspec.UnsetType)
    return typing.Union[left]  # noqa: UP007  # a tuple of types, known at run time only


def _extra(kind: Any) -> dict[str, Any]:
    """What ``schema`` says about a leaf."""
    extra: dict[str, Any] = {}
    if typing.get_origin(kind) is Annotated:
        for meta in kind.__metadata__:
            extra.update(meta.extra or {})
    return extra


def _is_of(kind: Any, wanted: type) -> bool:
    return typing.get_origin(kind) is Annotated and typing.get_args(kind)[0] is wanted


def _seen(node: Node) -> str:
    if node.kind != "scalar":
        return {"list": "a list", "map": "keys and values"}[node.kind]
    if node.value is None:
        return "nothing"
    if isinstance(node.value, bool):
        return str(node.value).lower()
    return _brief(node.value) if isinstance(node.value, str) else str(node.value)


def _brief(text: str) -> str:
    """Quoted, on one line, of bounded length."""
    return repr(text if len(text) <= 60 else text[:57] + "...")  # half a line


def _quoting(node: Node, kind: Any) -> str:
    """A hint for what YAML took for another type than its author meant."""
    if _is_of(kind, bool) and node.value in ("yes", "no", "on", "off"):
        return "write true or false"
    if _is_of(kind, str) and isinstance(node.value, bool | int | float):
        return f'quote it: "{_seen(node)}"'
    return ""
