"""``hivebox audit``: what the ledger says, whether it is true, and how it is kept."""

from __future__ import annotations

import io
import sys
from importlib import import_module

from hivebox.cli.parser import Parser

# Module -> its commands. Only the module that is asked for is imported: HTTP, TLS and signatures take as long as the
# rest of a `hivebox audit list` together.
_PARTS = {
    "audit_list": ("list", "grep", "stats", "show", "tail"),
    "audit_check": ("verify", "checkpoint"),
    "audit_proof": ("prove",),
    "audit_keys": ("key",),
    "audit_keep": ("keep", "rotate", "compress", "prune"),
    "audit_export": ("export",),
}


def run(argv: list[str]) -> int:
    """0, or 1 when ``verify`` has an error to report."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name need not fit the terminal's encoding
    parser = Parser(prog="hivebox audit", description="Signed records of every run: docs/audit-format.md")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for part in _wanted(argv[:1]):
        import_module(f"hivebox.cli.{part}").add_commands(commands)
    try:
        arguments = parser.parse_args(argv)
    except SystemExit:  # --help has printed
        return 0
    result: int = arguments.command(arguments)
    sys.stdout.flush()  # here a reader that went away is still an error that main() knows
    return result


def _wanted(first_word: list[str]) -> list[str]:
    """All of them for --help and for a command that is none."""
    return [part for part, commands in _PARTS.items() if first_word and first_word[0] in commands] or list(_PARTS)
