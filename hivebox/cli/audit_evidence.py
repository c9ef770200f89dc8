"""What ``hivebox audit verify``, ``checkpoint`` and ``prove`` take and show: checkpoints, witnesses, findings."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from hivebox.audit import checkpoints, note
from hivebox.audit.rules import Finding
from hivebox.cli.audit_text import brief, say
from hivebox.errors import HiveboxError, from_os_error
from hivebox.locations import state_path

_MOST_FINDINGS = 20
_LARGEST_NOTE = 1 << 20


def add_witness_key(command: argparse.ArgumentParser) -> None:
    """--witness-key."""
    command.add_argument("--witness-key", action="append", metavar="VKEY|FILE", help="name+hash+key (remembered)")


def read(path: str, largest: int = _LARGEST_NOTE) -> bytes:
    """A file that the caller names. Raises HiveboxError."""
    try:
        with open(path, "rb") as file:
            return file.read(largest)
    except OSError as error:
        raise from_os_error("cannot read the evidence", error, "check the path") from error


def read_checkpoint(path: str) -> bytes:
    """A signed note; its signatures are for the verifier. Raises HiveboxError for a file that is none."""
    content = read(path)
    try:
        note.parse(content)
    except note.NoteError as error:
        hint = "give what hivebox audit checkpoint printed, or the file of --witness"
        raise HiveboxError("cannot use the checkpoint", f"{path}: {error}", hint) from error
    return content


def witnesses(arguments: argparse.Namespace) -> tuple[note.Verifier, ...]:
    """Those given and those remembered."""
    given = []
    for text in arguments.witness_key or ():
        vkey = read(text).decode(errors="replace") if os.path.exists(text) else text
        try:
            given.append(note.parse_verifier(vkey))
        except note.NoteError as error:
            raise HiveboxError("cannot use the witness's key", str(error), "as the witness publishes it") from error
    return tuple(dict.fromkeys((*given, *checkpoints.known_witnesses(state_path()))))


def say_findings(findings: Sequence[Finding], whole: str) -> None:
    """The first of them; ``whole`` names what a finding without a line is about."""
    for found in findings[:_MOST_FINDINGS]:
        where = f"line {found.line}" if found.line else whole
        text = f"{found.rule}: expected {brief(found.expected)}, got {brief(found.got)}"
        say(f"{where:<10} {found.severity:<8} {text}")
    if len(findings) > _MOST_FINDINGS:
        say(f"and {len(findings) - _MOST_FINDINGS} more: hivebox audit verify --json")


def say_key_hint(arguments: argparse.Namespace, findings: Sequence[Finding]) -> None:
    """Records signed by nobody that this user knows are most often somebody else's, and good."""
    if not arguments.key and any(found.rule == "key" for found in findings):
        say("signed by a key that is not yours: if the ledger is another user's, give that user's with --key PUB.pem")
