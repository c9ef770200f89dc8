"""``hivebox audit verify|checkpoint|prove``: is the ledger what was written, and evidence for others."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from hivebox.audit import checkpoints, history, keys, note, proof, statement, supervisor, tree, verify, witness
from hivebox.audit.rules import ERROR, Finding
from hivebox.cli.audit_text import (
    Commands,
    add_ledger,
    audit_dir,
    brief,
    ledger,
    none_yet,
    print_json,
    public_keys,
    say,
)
from hivebox.errors import HiveboxError, from_os_error
from hivebox.locations import state_dir

_MOST_FINDINGS = 20
_INCOMPLETE = "incomplete"
_LARGEST_NOTE = 1 << 20
_LARGEST_PROOF = 64 << 20


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
    prove = commands.add_parser("prove", help="evidence that a run is in the ledger, for who does not have the ledger")
    prove.add_argument("run", metavar="RUN", help="its id, or how it begins")
    prove.add_argument(
        "--since", metavar="FILE", help="a checkpoint kept earlier: prove that the ledger only grew since"
    )
    prove.set_defaults(command=_prove)
    for command in (check, seal):
        command.add_argument("--witness-key", action="append", metavar="VKEY|FILE", help="name+hash+key (remembered)")


def _head(text: str) -> verify.Head:
    seq, _, digest = text.partition(":")
    if not (seq.isascii() and seq.isdigit()) or not statement.is_sha256(digest):
        raise argparse.ArgumentTypeError("expected SEQ:SHA256 as hivebox audit verify prints it")
    return verify.Head(int(seq), digest)


def _verify(arguments: argparse.Namespace) -> int:
    if arguments.proof:
        return _verify_proof(arguments)
    if none_yet(arguments):
        raise HiveboxError("nothing to verify", "no runs recorded yet", "hivebox run SCRIPT")
    path, trusted = ledger(arguments), public_keys(arguments)
    evidence = verify.Evidence(
        head=arguments.head,
        checkpoints=(*_beside(path), *map(_read, arguments.checkpoint or ())),
        witnesses=_witnesses(arguments),
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
    return 0 if verdict.good else 1


def _beside(path: str) -> Sequence[bytes]:
    return checkpoints.load(os.path.dirname(path)) if os.path.isdir(path) else ()


def _read(path: str, largest: int = _LARGEST_NOTE) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(largest)
    except OSError as error:
        raise from_os_error("cannot read the evidence", error) from error


def _print_verdict(summary: dict[str, Any], findings: Sequence[Finding]) -> None:
    _print_findings(findings, "ledger")
    for name in ("ledger", "records", "runs", "running", "incomplete", "head", "checkpointed", "witnessed"):
        say(f"{name:<12} {summary[name]}")
    for keyid in summary["keys"]:
        say(f"{'key':<12} {keyid}")
    say(f"{'result':<12} " + ("good" if summary["good"] else "BAD: not what was written (docs/audit-format.md#rules)"))


def _print_findings(findings: Sequence[Finding], whole: str) -> None:
    for found in findings[:_MOST_FINDINGS]:
        where = f"line {found.line}" if found.line else whole
        text = f"{found.rule}: expected {brief(found.expected)}, got {brief(found.got)}"
        say(f"{where:<10} {found.severity:<8} {text}")
    if len(findings) > _MOST_FINDINGS:
        say(f"and {len(findings) - _MOST_FINDINGS} more: hivebox audit verify --json")


def _verify_proof(arguments: argparse.Namespace) -> int:
    try:
        said = json.loads(_read(arguments.proof, _LARGEST_PROOF))
    except ValueError as error:
        raise HiveboxError(
            "cannot read the proof", f"{arguments.proof}: {error}", "make one with hivebox audit prove"
        ) from error
    findings, cosigners = proof.check(said, public_keys(arguments), _witnesses(arguments))
    good = all(found.severity != ERROR for found in findings)
    if arguments.json:
        print_json({"good": good, "witnesses": cosigners, "findings": [found._asdict() for found in findings]})
        return 0 if good else 1
    _print_findings(findings, "proof")
    if good:
        for item in said["records"]:
            say(f"{'record':<12} {item['index']}")
        say(f"{'witnesses':<12} {' '.join(cosigners) or 'none'}")
    say(f"{'result':<12} " + ("good: the records are in the ledger of the checkpoint" if good else "BAD"))
    return 0 if good else 1


def _witnesses(arguments: argparse.Namespace) -> tuple[note.Verifier, ...]:
    """Those given and those remembered."""
    given = []
    for text in arguments.witness_key or ():
        vkey = _read(text).decode(errors="replace") if os.path.exists(text) else text
        try:
            given.append(note.parse_verifier(vkey))
        except note.NoteError as error:
            raise HiveboxError("cannot use the witness's key", str(error), "as the witness publishes it") from error
    return tuple(dict.fromkeys((*given, *checkpoints.known_witnesses(state_dir()))))


def _checkpoint(arguments: argparse.Namespace) -> int:
    if not os.path.isdir(audit_dir()):
        raise HiveboxError("nothing to sign", "no runs recorded yet", "hivebox run SCRIPT")
    witnesses = _witnesses(arguments)
    signer = keys.load_signer(state_dir())
    checkpoint = checkpoints.make(state_dir(), signer)
    for target in arguments.witness or ():
        leaves = checkpoints.all_leaves(audit_dir())
        seen = checkpoints.last_cosigned(state_dir(), witnesses, checkpoint.size)
        signatures = witness.verified(witness.show(target, checkpoint, leaves, seen), checkpoint, witnesses)
        checkpoint = checkpoints.keep(state_dir(), checkpoint.with_signatures(signatures))
    if arguments.witness_key:
        checkpoints.remember_witnesses(state_dir(), witnesses)
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


def _prove(arguments: argparse.Namespace) -> int:
    if not os.path.isdir(audit_dir()):
        raise HiveboxError(f"no run {arguments.run!r}", "no runs recorded yet", "hivebox run SCRIPT")
    run = history.find_run(history.runs_backward(audit_dir()), arguments.run)
    entries = [entry for entry in (run.started, run.finished) if entry]
    last = max(entry.record.seq for entry in entries)
    checkpoint = checkpoints.covering(state_dir(), last)
    if checkpoint is None:
        checkpoint = checkpoints.make(state_dir(), keys.load_signer(state_dir()))
    try:
        since = note.parse(_read(arguments.since)) if arguments.since else None
        leaves = checkpoints.all_leaves(audit_dir())
        print_json(proof.make(leaves, [(entry.record.seq, entry.raw) for entry in entries], checkpoint, since))
    except (tree.ProofError, note.NoteError) as error:
        raise HiveboxError("cannot prove it", str(error), "look with hivebox audit verify") from error
    return 0
