"""Proofs that a few records are in a ledger, without the rest of it. Pure; the form is docs/audit-format.md#proofs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from hivebox.audit import note, opening, seals, tree
from hivebox.audit.envelope import RuleError
from hivebox.audit.keyring import Keyring
from hivebox.audit.rules import Finding, finding

TYPE = "https://hivebox.dev/proof/v1"


def make(
    leaves: tree.Leaves,
    records: Sequence[tuple[int, bytes]],
    checkpoint: note.Checkpoint,
    since: note.Checkpoint | None,
) -> dict[str, Any]:
    """JSON-ready. ``records`` are (seq, line without newline) that ``checkpoint`` covers; ``since`` an older one of
    this ledger. Raises ProofError."""
    proof: dict[str, Any] = {
        "type": TYPE,
        "checkpoint": checkpoint.note().decode(),
        "records": [
            {"index": seq, "line": line.decode(), "path": _hex(leaves.inclusion(seq, checkpoint.size))}
            for seq, line in records
        ],
    }
    if since:
        path = _hex(leaves.consistency(since.size, checkpoint.size))
        proof["since"] = {"checkpoint": since.note().decode(), "path": path}
    return proof


def check(
    proof: Any, public_keys: Mapping[str, bytes], witnesses: Sequence[note.Verifier]
) -> tuple[list[Finding], list[str]]:
    """(what is wrong, the witnesses that cosigned). ``line`` in a finding counts the proof's records from 1."""
    keys = Keyring(public_keys)
    try:
        if proof["type"] != TYPE:
            raise RuleError("proof", f"type {TYPE}", repr(proof["type"]))
        checkpoint = note.parse(proof["checkpoint"].encode())
        found = (
            []
            if keys.signed(checkpoint)
            else [finding(0, "checkpoint", "a trusted key's signature", "none that is good")]
        )
        for number, item in enumerate(proof["records"], 1):
            found += _check_record(number, item, checkpoint, keys)
        if "since" in proof:
            found += _check_since(proof["since"], checkpoint)
    except RuleError as error:
        return [finding(0, error.rule, error.expected, error.got)], []
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return [finding(0, "proof", "a proof in its form", repr(error))], []
    return found, [witness.name for witness in witnesses if note.signed_by(checkpoint, witness) is not None]


def _check_record(number: int, item: Any, checkpoint: note.Checkpoint, keys: Keyring) -> list[Finding]:
    line: bytes = item["line"].encode()
    try:
        opened = opening.unseal(line)
        record = opening.decode(opened.payload)
        keys.check(opened)
        if record.seq != item["index"]:
            raise RuleError("proof", f"record {item['index']}", f"record {record.seq}")
        if record.seq == 0 and seals.origin_of(_sha256(line)) != checkpoint.origin:
            raise RuleError("checkpoint", f"a checkpoint of {seals.origin_of(_sha256(line))}", checkpoint.origin)
        path = [bytes.fromhex(text) for text in item["path"]]
        root = tree.root_from_inclusion(tree.leaf_hash(line), record.seq, checkpoint.size, path)
    except RuleError as error:
        return [finding(number, error.rule, error.expected, error.got)]
    except tree.ProofError as error:
        return [finding(number, "proof", f"a path to the root of {checkpoint.size} records", str(error))]
    if root != checkpoint.root:
        return [finding(number, "proof", f"the root {checkpoint.root.hex()}", root.hex())]
    return []


def _check_since(since: Any, checkpoint: note.Checkpoint) -> list[Finding]:
    older = note.parse(since["checkpoint"].encode())
    path = [bytes.fromhex(text) for text in since["path"]]
    try:
        if older.origin != checkpoint.origin:
            raise tree.ProofError(f"a checkpoint of {older.origin}")
        tree.check_consistency(older.size, older.root, checkpoint.size, checkpoint.root, path)
    except tree.ProofError as error:
        return [finding(0, "rewritten", f"a ledger that goes on after {older.size} records", str(error))]
    return []


def _hex(path: Sequence[bytes]) -> list[str]:
    return [each.hex() for each in path]


def _sha256(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
