"""Recipes: rootfs/<name>.yaml, decoded strictly. A word that is not known is an error with its line and column.

A recipe that ``extends`` another adds to its lists under ``required`` and ``optional`` and replaces everything else.
"""

from __future__ import annotations

import difflib
import os
from typing import Any, NamedTuple

import yaml

from hivebox import locations
from hivebox.errors import HiveboxError
from hivebox.policy.sources import Reader

_CHOICES = {"interpreter": ("python", "node", "none"), "packages": ("venv", "all")}
_TEXTS = ("description", "extends")
_LISTS = ("exclude",)
_NEEDS = ("programs", "libraries", "files")
_PATHS = ("files",)
_KEYS = (*_TEXTS, *_CHOICES, *_LISTS, *_NEEDS)


class Need(NamedTuple):
    """Names or absolute paths; the build fails without a required one."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


class Recipe(NamedTuple):
    """``sources`` are (name, path) of the recipe and of what it extends."""

    name: str
    description: str = ""
    interpreter: str = "none"
    packages: str = "venv"
    exclude: tuple[str, ...] = ()
    programs: Need = Need()
    libraries: Need = Need()
    files: Need = Need()
    sources: tuple[tuple[str, str], ...] = ()


class _Decoder:
    """YAML nodes to plain values; the nodes, because they know their line and column."""

    def __init__(self, path: str) -> None:
        self._path = path

    def error(self, node: yaml.Node, why: str, hint: str = "see docs/rootfs.md#recipes") -> HiveboxError:
        where = f"{self._path}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"
        return HiveboxError("bad root filesystem recipe", f"{where}: {why}", hint)

    def text(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:str" or not node.value:
            raise self.error(node, "expected a text", 'quote words that YAML takes for something else: "true"')
        return str(node.value)

    def texts(self, node: yaml.Node, *, paths: bool = False) -> tuple[str, ...]:
        if not isinstance(node, yaml.SequenceNode):
            raise self.error(node, "expected a list")
        values = tuple(self.text(item) for item in node.value)
        for item, value in zip(node.value, values, strict=True):
            if paths and not (os.path.isabs(value) and os.path.normpath(value) == value):
                raise self.error(item, f"expected an absolute path without . and .., got {value}")
        return values

    def mapping(self, node: yaml.Node, keys: tuple[str, ...]) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, "expected keys and values")
        found: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key = self.text(key_node)
            if key not in keys:
                near = difflib.get_close_matches(key, keys, 1)
                raise self.error(
                    key_node, f"unknown key {key}", f"did you mean {near[0]}?" if near else ", ".join(keys)
                )
            if key in found:
                raise self.error(key_node, f"{key} is given twice")
            found[key] = value
        return found

    def recipe(self, node: yaml.Node) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, value in self.mapping(node, _KEYS).items():
            if key in _NEEDS:
                parts = self.mapping(value, Need._fields)
                plain[key] = Need(**{part: self.texts(item, paths=key in _PATHS) for part, item in parts.items()})
            else:
                plain[key] = self.texts(value) if key in _LISTS else self.text(value)
            if key in _CHOICES and plain[key] not in _CHOICES[key]:
                raise self.error(value, f"{key} is one of {', '.join(_CHOICES[key])}")
        return plain


def _read(name: str) -> tuple[str, dict[str, Any]]:
    path = locations.find_shipped("rootfs", name) if name == os.path.basename(name) else None
    if path is None:
        raise HiveboxError(
            f"no root filesystem recipe called {name}",
            f"no {name}.yaml in the rootfs directories of {', '.join(locations.config_dirs())} or hivebox itself",
            "python, shell, node and host come with hivebox: docs/rootfs.md",
        )
    try:
        node = yaml.compose(Reader().read(path) or b"", Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise HiveboxError("bad root filesystem recipe", str(error).replace("\n", " "), "it is not YAML") from error
    if node is None:
        raise HiveboxError("bad root filesystem recipe", f"{path}: empty", "see docs/rootfs.md#recipes")
    return path, _Decoder(path).recipe(node)


def _join(parent: dict[str, Any], child: dict[str, Any]) -> dict[str, Any]:
    joined = parent | child
    for key in _NEEDS:
        lists = [plain[key] for plain in (parent, child) if key in plain]
        if lists:
            joined[key] = Need(*(tuple(x for need in lists for x in getattr(need, part)) for part in Need._fields))
    return joined


def load(name: str) -> Recipe:
    """The recipe with what it extends. Raises HiveboxError naming file, line and column."""
    sources: list[tuple[str, str]] = []
    plain: dict[str, Any] = {}
    wanted = name
    while wanted:
        names = [source[0] for source in sources]
        if wanted in names:
            circle = " -> ".join((*names, wanted))
            raise HiveboxError("recipes extend each other in a circle", circle, "break the circle")
        path, found = _read(wanted)
        sources.append((wanted, path))
        wanted = found.pop("extends", "")
        plain = _join(found, plain)
    return Recipe(name=name, sources=tuple(sources), **plain)
