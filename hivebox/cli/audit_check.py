"""``hivebox audit verify|checkpoint``: is the ledger what was written."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from hivebox.audit import checkpoints, history, keys, statement, supervisor, verify, witness
from hivebox.audit.rules import Finding
from hivebox.cli.audit_evidence import add_witness_key, read_checkpoint, say_findings, say_key_hint, witnesses
from hivebox.cli.audit_proof import verify_proof
from hivebox.cli.audit_text import Commands, add_ledger, audit_dir, ledger, none_yet, print_json, public_keys, say
from hivebox.errors import HiveboxError
from hivebox.locations import state_dir

_INCOMPLETE = "incomplete"


def add_commands(commands: Commands) -> None:
    """To ``hivebox audit``."""
    check = commands.add_parser("verify", help="is the ledger what was written? Exit code 1 if not")
    check.add_argument("--head", type=_head, metavar="SEQ:SHA256", help="a head noted earlier: finds a cut-off end")
    check.add_argument(
        "--checkpoint", action="append", metavar="FILE", help="one kept elsewhere: finds a rewritten ledger"
    )
    check.add_argument("--every-signature", action="store_true", help="also of records that a checkpoint covers")
    check.add_argument("--proof", metavar="FILE", help="check a proof (hivebox audit prove) instead of the ledger")
    add_ledger(check, key=True)
    check.set_defaults(command=_verify)
    seal = commands.add_parser("checkpoint", help="sign the state of the ledger, and show it to witnesses")
    seal.add_argument(
        "--witness", action="append", metavar="FILE|URL|command:...", help="who remembers it (repeatable)"
    )
    seal.add_argument("--json", action="store_true", help="for programs")
    seal.set_defaults(command=_checkpoint)
    for command in (check, seal):
        add_witness_key(command)


def _head(text: str) -> verify.Head:
    seq, _, digest = text.partition(":")
    if not (seq.isascii() and seq.isdigit()) or not statement.is_sha256(digest):
        raise argparse.ArgumentTypeError("expected SEQ:SHA256 as hivebox audit verify prints it")
    return verify.Head(int(seq), digest)


def _verify(arguments: argparse.Namespace) -> int:
    if arguments.proof:
        return verify_proof(arguments)
    if none_yet(arguments):
        raise HiveboxError("nothing to verify", "no runs recorded yet", "hivebox run SCRIPT")
    path, trusted = ledger(arguments), public_keys(arguments)
    evidence = verify.Evidence(
        head=arguments.head,
        checkpoints=(*_beside(path), *map(read_checkpoint, arguments.checkpoint or ())),
        witnesses=witnesses(arguments),
        every_signature=arguments.every_signature,
        alone=os.path.basename(path).startswith("segment-"),
    )
    verdict = verify.verify(history.lines_of(path), trusted, evidence=evidence)
    running = {run.line for run in verdict.open_runs if supervisor.is_running(run.record)}
    findings = [found for found in verdict.findings if found.rule != _INCOMPLETE or found.line not in running]
    summary: dict[str, Any] = {
        "ledger": path,
        "keys": sorted(trusted),
        "records": verdict.records,
        "runs": verdict.runs,
        "running": len(running),
        "incomplete": len(verdict.open_runs) - len(running),
        "head": f"{verdict.head.seq}:{verdict.head.line_sha256}" if verdict.head else None,
        "root": verdict.root,
        "checkpointed": verdict.checkpointed,
        "witnessed": verdict.witnessed,
        "good": verdict.good,
    }
    if arguments.json:
        print_json({**summary, "findings": [found._asdict() for found in findings]})
    else:
        _print_verdict(summary, findings)
        say_key_hint(arguments, findings)
    return 0 if verdict.good else 1


def _beside(path: str) -> Sequence[bytes]:
    return checkpoints.load(os.path.dirname(path)) if os.path.isdir(path) else ()


def _print_verdict(summary: dict[str, Any], findings: Sequence[Finding]) -> None:
    say_findings(findings, "ledger")
    for name in ("ledger", "records", "runs", "running", "incomplete", "head", "checkpointed", "witnessed"):
        say(f"{name:<12} {summary[name]}")
    for keyid in summary["keys"]:
        say(f"{'key':<12} {keyid}")
    say(f"{'result':<12} " + ("good" if summary["good"] else "BAD: not what was written (docs/audit-format.md#rules)"))


def _checkpoint(arguments: argparse.Namespace) -> int:
    if not os.path.isdir(audit_dir()):
        raise HiveboxError("nothing to sign", "no runs recorded yet", "hivebox run SCRIPT")
    known = witnesses(arguments)
    signer = keys.load_signer(state_dir())
    checkpoint = checkpoints.make(state_dir(), signer)
    for target in arguments.witness or ():
        leaves = checkpoints.all_leaves(audit_dir())
        seen = checkpoints.last_cosigned(state_dir(), known, checkpoint.size)
        signatures = witness.verified(witness.show(target, checkpoint, leaves, seen), checkpoint, known)
        checkpoint = checkpoints.keep(state_dir(), checkpoint.with_signatures(signatures))
    if arguments.witness_key:
        checkpoints.remember_witnesses(state_dir(), known)
    if arguments.json:
        print_json(
            {
                "origin": checkpoint.origin,
                "size": checkpoint.size,
                "root": checkpoint.root.hex(),
                "note": checkpoint.note().decode(),
            }
        )
    else:
        sys.stdout.write(checkpoint.note().decode())
    return 0
