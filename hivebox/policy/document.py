"""YAML text as nodes that know where they are written, and mistakes shown with the source line and a caret.

A subset of YAML, read from the parser's events without building anything else: one document of mappings, lists and
scalars. Anchors, aliases and tags have no use in a profile and are refused, so that nothing can grow on expansion.
Plain scalars follow the YAML 1.2 core schema: ``yes``, ``on`` and ``1:30`` are strings, ``010`` is no octal number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import yaml

from hivebox.errors import ProfileError

_DEEPEST = 8
_WIDEST_LINE = 110
_PLAIN = {"": None, "~": None, "null": None, "true": True, "True": True, "false": False, "False": False}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")
_FLOAT = re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{0,18}([eE][-+]?[0-9]{1,3})?")
_LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_NOT_IN_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufeff\uff00-\ufffd\U00010000-\U0010ffff]")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Node(NamedTuple):
    """``value`` is a str, int, float, bool or None; a tuple of Nodes (``list``); or a tuple of (key, value) pairs of
    Nodes (``map``). ``line`` and ``column`` count from 1, ``width`` is how many characters the caret underlines."""

    kind: str
    value: Any
    line: int
    column: int
    width: int = 1


class Mistake(NamedTuple):
    """One thing wrong with a file, at a place."""

    what: str
    line: int
    column: int
    width: int = 1
    hint: str = ""

    def printable(self) -> Mistake:
        """What is quoted from a file cannot drive the reader's terminal: a profile may come from a stranger."""
        return self._replace(what=_printable(self.what), hint=_printable(self.hint))


class MistakesError(Exception):
    """Ends the reading of a file; ``Text.error`` makes the ProfileError of it."""

    def __init__(self, *mistakes: Mistake) -> None:
        super().__init__(*mistakes)
        self.mistakes = mistakes


class Text:
    """One file's text, decoded. Raises ProfileError for what is not UTF-8."""

    def __init__(self, path: str, content: bytes) -> None:
        self.path = path
        self._lines: list[str] = []
        try:
            self.text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = content[: error.start].decode("utf-8-sig", "replace")
            self._lines = [*_LINE_END.split(before + "\ufffd")]
            mistake = Mistake("this is not UTF-8", len(self._lines), len(self._lines[-1]), hint="save it as UTF-8")
            raise self.error([mistake]) from error
        self._lines = _LINE_END.split(self.text)

    def place(self, line: int) -> str:
        """``FILE:LINE``."""
        return f"{self.path}:{line}"

    def error(self, mistakes: Iterable[Mistake]) -> ProfileError:
        """All of them as one error, in the order of the file."""
        ordered = sorted(
            (mistake.printable() for mistake in mistakes), key=lambda mistake: (mistake.line, mistake.column)
        )
        if len(ordered) == 1:
            only = ordered[0]
            return ProfileError(only.what, self._excerpt(only, 6), only.hint or "see docs/profile.md")
        blocks = []
        for mistake in ordered:
            hint = f" ({mistake.hint})" if mistake.hint else ""
            blocks.append(f"{mistake.what}{hint}\n      {self._excerpt(mistake, 8)}")
        return ProfileError(
            f"{len(ordered)} mistakes in {self.path}", "\n      ".join(blocks), "see docs/profile.md for every key"
        )

    def _excerpt(self, mistake: Mistake, indent: int) -> str:
        """``file:line:column``, the line and a caret below it."""
        source = self._lines[mistake.line - 1] if mistake.line <= len(self._lines) else ""
        place = f"{_printable(self.path)}:{mistake.line}:{mistake.column}"
        if not source.strip():
            return place
        start = max(0, mistake.column - _WIDEST_LINE // 2) if len(source) > _WIDEST_LINE else 0
        shown = _printable(source[start:][:_WIDEST_LINE])
        offset = mistake.column - 1 - start
        caret = "^" * max(1, min(mistake.width, len(shown) - offset))
        pad = "\n" + " " * (indent + 2)
        return f"{place}{pad}{shown.rstrip()}{pad}{' ' * offset}{caret}"


def _printable(text: str) -> str:
    """One character stays one column."""
    return "".join(c if c.isprintable() else " " if c == "\t" else "?" for c in text)


def parse(text: Text) -> Node:
    """The one document in ``text``. Raises ProfileError."""
    try:
        return _Builder().build(_events(text.text))
    except MistakesError as error:
        raise text.error(error.mistakes) from None


def _events(source: str) -> Iterator[Any]:
    foreign = _NOT_IN_YAML.search(source)
    if foreign:
        before = _LINE_END.split(source[: foreign.start()])
        what = f"the character {foreign[0]!a} cannot be in a YAML file"
        raise MistakesError(Mistake(what, len(before), len(before[-1]) + 1, hint="remove it"))
    try:
        yield from yaml.parse(source, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        raise MistakesError(_syntax_mistake(source, error)) from None
    except yaml.YAMLError as error:
        raise MistakesError(Mistake(f"not YAML: {error}", 1, 1)) from None


def _syntax_mistake(source: str, error: yaml.MarkedYAMLError) -> Mistake:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = _LINE_END.split(source)
    there = lines[line][column:] if line < len(lines) else ""
    if there.startswith("\t"):
        return Mistake("a tab where YAML wants spaces", line + 1, column + 1, hint="indent with spaces")
    if there.startswith("@"):
        word = re.split(r"[],\s]", there)[0]
        return Mistake("YAML wants quotes around @", line + 1, column + 1, len(word), f'write "{word}"')
    problem = " ".join(part for part in (error.context, error.problem) if part)
    return Mistake(f"not YAML: {problem}", line + 1, column + 1, hint="check indentation, quotes and brackets")


class _Builder:
    """A stack, not recursion: depth comes from the file."""

    def __init__(self) -> None:
        self._open: list[tuple[Any, list[Node]]] = []
        self._roots: list[Node] = []

    def build(self, events: Iterator[Any]) -> Node:
        for event in events:
            self._take(event)
        if not self._roots:
            raise MistakesError(Mistake("the file is empty", 1, 1, hint="write {} for a file that says nothing"))
        return self._roots[0]

    def _take(self, event: Any) -> None:
        name = type(event).__name__
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _refuse(event, "anchors and aliases are not used in profiles", "write the value out, or use extends")
        if getattr(event, "tag", None):
            raise _refuse(event, "tags are not used in profiles", "remove it")
        if isinstance(event, yaml.ScalarEvent):
            self._add(_node("scalar", _scalar(event), event))
        elif name in ("MappingStartEvent", "SequenceStartEvent"):
            if len(self._open) == _DEEPEST:
                raise _refuse(event, f"nested more than {_DEEPEST} deep", "no key of a profile is that deep")
            self._open.append((event, []))
        elif name in ("MappingEndEvent", "SequenceEndEvent"):
            start, children = self._open.pop()
            is_map = name == "MappingEndEvent"
            value = tuple(zip(children[::2], children[1::2], strict=True)) if is_map else tuple(children)
            self._add(_node("map" if is_map else "list", value, start))

    def _add(self, node: Node) -> None:
        if self._open:
            self._open[-1][1].append(node)
        elif self._roots:
            raise MistakesError(Mistake("a second document", node.line, node.column, hint="one file is one profile"))
        else:
            self._roots.append(node)


def _refuse(event: Any, what: str, hint: str) -> MistakesError:
    node = _node("", None, event)
    return MistakesError(Mistake(what, node.line, node.column, hint=hint))


def _node(kind: str, value: Any, event: Any) -> Node:
    start, end = event.start_mark, event.end_mark
    width = end.column - start.column if kind == "scalar" and end.line == start.line else 1
    return Node(kind, value, start.line + 1, start.column + 1, max(width, 1))


def _scalar(event: yaml.ScalarEvent) -> str | int | float | bool | None:
    text: str = event.value
    if event.style:  # quoted, | or >
        return text
    if text in _PLAIN:
        return _PLAIN[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
