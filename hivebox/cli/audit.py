"""``hivebox audit``: what the ledger says, whether it is true, and how it is kept."""

from __future__ import annotations

import io
import sys

from hivebox.cli import audit_check, audit_export, audit_keep, audit_keys, audit_list
from hivebox.cli.parser import Parser

_PARTS = (audit_list, audit_check, audit_keys, audit_keep, audit_export)


def run(argv: list[str]) -> int:
    """0, or 1 when ``verify`` has an error to report."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name need not fit the terminal's encoding
    parser = Parser(prog="hivebox audit", description="Signed records of every run: docs/audit-format.md")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for part in _PARTS:
        part.add_commands(commands)
    try:
        arguments = parser.parse_args(argv)
    except SystemExit:  # --help has printed
        return 0
    result: int = arguments.command(arguments)
    sys.stdout.flush()  # here a reader that went away is still an error that main() knows
    return result
