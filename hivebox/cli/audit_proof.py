"""``hivebox audit prove`` and ``verify --proof``: evidence of a run for who does not have the ledger."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any

from hivebox.audit import checkpoints, history, keys, note, proof, statement, tree
from hivebox.audit.rules import ERROR
from hivebox.audit.story import ENDS
from hivebox.cli.audit_evidence import read, read_checkpoint, say_findings, say_key_hint, witnesses
from hivebox.cli.audit_text import Commands, audit_dir, print_json, public_keys, say
from hivebox.errors import HiveboxError
from hivebox.locations import state_dir

_LARGEST_PROOF = 64 << 20


def add_commands(commands: Commands) -> None:
    """To ``hivebox audit``."""
    prove = commands.add_parser("prove", help="evidence that a run is in the ledger, for who does not have the ledger")
    prove.add_argument("run", metavar="RUN", help="its id, or how it begins")
    prove.add_argument(
        "--since", metavar="FILE", help="a checkpoint kept earlier: prove that the ledger only grew since"
    )
    prove.set_defaults(command=_prove)


def _prove(arguments: argparse.Namespace) -> int:
    if not os.path.isdir(audit_dir()):
        raise HiveboxError(f"no run {arguments.run!r}", "no runs recorded yet", "hivebox run SCRIPT")
    run = history.find_run(history.runs_backward(audit_dir()), arguments.run)
    since = note.parse(read_checkpoint(arguments.since)) if arguments.since else None
    entries = [entry for entry in (run.started, run.finished) if entry]
    last = max(entry.record.seq for entry in entries)
    checkpoint = checkpoints.covering(state_dir(), last)
    if checkpoint is None:
        checkpoint = checkpoints.make(state_dir(), keys.load_signer(state_dir()))
    try:
        leaves = checkpoints.all_leaves(audit_dir())
        print_json(proof.make(leaves, [(entry.record.seq, entry.raw) for entry in entries], checkpoint, since))
    except (tree.ProofError, note.NoteError) as error:
        raise HiveboxError("cannot prove it", str(error), "look with hivebox audit verify") from error
    return 0


def verify_proof(arguments: argparse.Namespace) -> int:
    """0, or 1 when the proof does not prove what it says."""
    verdict = proof.check(_read_proof(arguments.proof), public_keys(arguments), witnesses(arguments))
    good = all(found.severity != ERROR for found in verdict.findings)
    runs = _runs(verdict.records) if good else []
    if arguments.json:
        print_json(
            {
                "good": good,
                "ledger": verdict.origin,
                "records": [record.seq for record in verdict.records],
                "runs": runs,
                "witnesses": verdict.witnesses,
                "findings": [found._asdict() for found in verdict.findings],
            }
        )
        return 0 if good else 1
    say_findings(verdict.findings, "proof")
    if good:
        _say_proven(verdict, runs)
    else:
        say_key_hint(arguments, verdict.findings)
    say(f"{'result':<12} " + ("good: the records are in the ledger of the checkpoint" if good else "BAD"))
    return 0 if good else 1


def _read_proof(path: str) -> dict[str, Any]:
    try:
        said = json.loads(read(path, _LARGEST_PROOF))
        if not isinstance(said, dict) or "type" not in said:
            raise ValueError("it has no type")
        return said
    except (ValueError, RecursionError) as error:
        raise HiveboxError("not a proof", f"{path}: {error}", "make one with hivebox audit prove RUN") from error


def _runs(records: Sequence[statement.Record]) -> list[dict[str, Any]]:
    """What is proven of each run; ``outcome`` None means that no end is."""
    runs: dict[str, dict[str, Any]] = {}
    for record in records:
        run = runs.setdefault(record.run_id, {"run_id": record.run_id, "scripts": [], "outcome": None})
        run["scripts"] = sorted({*run["scripts"], *(pair for pair in record.subjects if pair[0].startswith("script"))})
        if record.event in ENDS:
            result = record.predicate.get("result")
            run["outcome"] = result.get("outcome") if isinstance(result, dict) else record.event
    return list(runs.values())


def _say_proven(verdict: proof.Verdict, runs: Sequence[dict[str, Any]]) -> None:
    say(f"{'ledger':<12} {verdict.origin}, its first {verdict.size} records")
    for record in verdict.records:
        say(f"{'record':<12} {record.seq} ({record.event}, {record.moment.utc})")
    for run in runs:
        outcome = run["outcome"] or "no end is proven: it was running, was killed, or its end was left out"
        say(f"{'run':<12} {run['run_id']}: {outcome}")
        for name, digest in run["scripts"]:
            say(f"{name:<12} {digest}")
    say(f"{'witnesses':<12} {' '.join(verdict.witnesses) or 'none'}")
