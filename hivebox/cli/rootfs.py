"""``hivebox rootfs``: build, list, verify and prune read-only roots."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hivebox.cli.parser import Parser
from hivebox.errors import HiveboxError
from hivebox.rootfs import store, trees
from hivebox.rootfs.build import build
from hivebox.units import counted, format_size

_MOST_DIFFERENCES = 20
_SHORT = 12


def run(argv: list[str]) -> int:
    """0, or 1 when ``verify`` found a difference."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit:  # --help has printed
        return 0
    result: int = arguments.command(arguments)
    sys.stdout.flush()
    return result


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="hivebox rootfs", description="Read-only roots, built from recipes: docs/rootfs.md")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    building = commands.add_parser("build", help="build a recipe's tree, unless it is up to date")
    building.add_argument("recipe", nargs="?", default="python", help="python (default), shell, node or your own")
    building.add_argument("--interpreter", default="", metavar="PATH", help="as .venv/bin/python")
    building.add_argument("--force", action="store_true", help="build even if up to date; replaces a damaged tree")
    building.set_defaults(command=_build)
    listing = commands.add_parser("list", help="the trees, their size, and what leads to them")
    listing.set_defaults(command=_list)
    verifying = commands.add_parser("verify", help="read trees and compare with their digests; exit code 1 if changed")
    verifying.add_argument("digest", nargs="*", help="as `list` shows them, or how they begin (default: all)")
    verifying.set_defaults(command=_verify)
    for command in (listing, verifying):
        command.add_argument("--json", action="store_true", help="for programs")
    pruning = commands.add_parser("prune", help="remove trees that are out of date and not in use")
    pruning.set_defaults(command=_prune)
    return parser


@contextmanager
def _progress() -> Iterator[store.Progress | None]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415  # 60 ms that only a terminal needs
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def update(phase: str, done: int, total: int) -> None:
            bar.update(task, description=phase, completed=done, total=total or None)

        yield update


def _write(lines: list[str]) -> None:
    sys.stdout.write("".join(line + "\n" for line in lines))


def _build(arguments: argparse.Namespace) -> int:
    interpreter = os.path.abspath(arguments.interpreter) if arguments.interpreter else ""
    with _progress() as progress:
        tree = build(arguments.recipe, interpreter, progress=progress, force=arguments.force)
    _write([tree.digest])
    return 0


def _list(arguments: argparse.Namespace) -> int:
    infos = trees.list_trees()
    if arguments.json:
        _write([json.dumps([info._asdict() for info in infos], indent=2)])
        return 0
    for info in infos:
        state = "damaged" if info.damaged else "current" if info.fresh else "out of date"
        size = f"{format_size(info.size_bytes):>10} {info.files:>6} files"
        _write([f"{info.digest[:_SHORT]}  {info.recipe:<12} {size}  {state}  {info.interpreter}".rstrip()])
    return 0


def _chosen(prefixes: list[str]) -> list[str]:
    digests = trees.digests()
    if not prefixes:
        return digests
    chosen = []
    for prefix in prefixes:
        matching = [digest for digest in digests if digest.startswith(prefix)]
        if len(matching) != 1 or not re.fullmatch(r"[0-9a-f]{6,64}", prefix):
            why = f"{len(matching)} trees have a digest that begins so (at least 6 hex digits)"
            raise HiveboxError(f"cannot tell which root filesystem is meant by {prefix}", why, "hivebox rootfs list")
        chosen += matching
    return chosen


def _verify(arguments: argparse.Namespace) -> int:
    results = {digest: trees.verify(digest) for digest in _chosen(arguments.digest)}
    _write([json.dumps(_plain(results), indent=2)] if arguments.json else _report(results))
    return 1 if any(results.values()) else 0


def _plain(results: dict[str, list[trees.Difference]]) -> list[dict[str, Any]]:
    return [
        {"digest": digest, "ok": not differences, "differences": [d._asdict() for d in differences]}
        for digest, differences in results.items()
    ]


def _report(results: dict[str, list[trees.Difference]]) -> list[str]:
    lines = []
    for digest, differences in results.items():
        lines.append(f"{digest[:_SHORT]}  {counted(len(differences), 'difference') if differences else 'ok'}")
        lines += [f"  {d.kind:<8} {d.path or 'the manifest itself'!r}" for d in differences[:_MOST_DIFFERENCES]]
        if len(differences) > _MOST_DIFFERENCES:
            lines.append(f"  and {len(differences) - _MOST_DIFFERENCES} more")
    return lines + _repairs({digest for digest, differences in results.items() if differences})


def _repairs(changed: set[str]) -> list[str]:
    """The commands that replace these trees."""
    commands = set()
    for info in trees.list_trees() if changed else ():
        if info.digest in changed:
            for recipe, interpreter in info.uses:
                option = f" --interpreter {shlex.quote(interpreter)}" if interpreter else ""
                commands.add(f"hivebox rootfs build {recipe} --force{option}")
            if not info.uses:
                commands.add("hivebox rootfs prune")
    return [f"try:  {command}" for command in sorted(commands)]


def _prune(_arguments: argparse.Namespace) -> int:
    _write([f"removed {digest[:_SHORT]}" for digest in trees.remove_unused()])
    return 0
