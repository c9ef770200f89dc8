"""What the ``hivebox audit`` commands share: the ledger they are about, and printing what a record says safely."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from hivebox.audit import keys, statement
from hivebox.errors import HiveboxError
from hivebox.locations import state_path

_LONGEST_CELL = 80
Commands = Any  # argparse has no public name for what add_subparsers returns


def count(text: str) -> int:
    """An argument that is a whole number from 0."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"not a count: {text!r}")
    return int(text)


def add_ledger(command: argparse.ArgumentParser, *, key: bool = False) -> None:
    """--ledger, --json and, where signatures are looked at, --key."""
    command.add_argument("--ledger", metavar="FILE|DIR", help="default: this user's")
    command.add_argument("--json", action="store_true", help="for programs")
    if key:
        command.add_argument("--key", action="append", metavar="PUB.pem", help="default: this user's (repeatable)")


def audit_dir() -> str:
    """Of this user."""
    return os.path.join(state_path(), "audit")


def ledger(arguments: argparse.Namespace) -> str:
    """A directory of segments or one file."""
    return arguments.ledger or audit_dir()


def none_yet(arguments: argparse.Namespace) -> bool:
    """This user has not run anything."""
    return not arguments.ledger and not os.path.exists(os.path.join(audit_dir(), "ledger.jsonl"))


def public_keys(arguments: argparse.Namespace) -> dict[str, bytes]:
    """keyid -> key: those given, else this user's own. Raises HiveboxError."""
    if arguments.key:
        return {keys.keyid_of(public): public for public in map(keys.read_public, arguments.key)}
    found = keys.public_keys(state_path())
    if not found:
        raise HiveboxError("no key to verify with", "this user has none", "give one with --key PUB.pem")
    return found


def say_table(rows: Iterable[Sequence[str]]) -> None:
    """Left-aligned columns, each cell one line of bounded length."""
    cells = [[clip(printable(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def clip(text: str) -> str:
    """At most as long as a cell may be."""
    return text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 3] + "..."


def brief(text: str) -> str:
    """Digests by their first 16 digits: enough for an eye, and --json has all of them."""
    return " ".join(word[:16] + ".." if statement.is_sha256(word) else word for word in text.split(" "))


def say(text: str) -> None:
    """A line; what came from a record cannot drive the reader's terminal."""
    sys.stdout.write(printable(text) + "\n")


def printable(text: str) -> str:
    """Stops escape sequences, and line ends that would fake further lines."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def print_json(plain: Any) -> None:
    """Indented."""
    sys.stdout.write(json.dumps(plain, indent=2, sort_keys=True) + "\n")
