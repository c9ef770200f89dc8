"""Imports go only downward, and only kernel/ talks to the kernel (docs/architecture.md#layers)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "hivebox"
# Lowest first. A module may import its own layer and those before it.
LAYERS = (
    "errors", "frozen", "waiting", "loop", "plainjson", "digest", "units", "locations", "policy", "kernel", "network", "rootfs", "steps", "plan", "launch", "report", "supervise",
    "audit", "watch", "pipeline", "job", "service", "library", "doctor", "cli", "__main__",
)  # fmt: skip
KERNEL_ONLY = {"ctypes", "_ctypes", "prctl", "pyseccomp", "seccomp", "pyroute2"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def layer(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports(path: Path) -> Iterator[tuple[str, ast.stmt]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node


def own_layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downward(path: Path) -> None:
    mine = own_layer(path)
    if mine == "__init__":
        return
    wrong = [
        name
        for name, _ in imports(path)
        if name.startswith("hivebox.") and LAYERS.index(layer(name)) > LAYERS.index(mine)
    ]
    assert not wrong, f"{mine} may only import {LAYERS[: LAYERS.index(mine) + 1]}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_kernel_talks_to_the_kernel(path: Path) -> None:
    if own_layer(path) != "kernel":
        assert not [name for name, _ in imports(path) if name.split(".")[0] in KERNEL_ONLY]


def test_every_layer_exists_and_is_listed() -> None:
    found = {own_layer(path) for path in MODULES} - {"__init__"}
    assert found <= set(LAYERS)
