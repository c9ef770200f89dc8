"""Proofs that a few records are in a ledger, without the rest of it. Pure; the form is docs/audit-format.md#proofs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hivebox.audit import note, opening, seals, statement, tree
from hivebox.audit.envelope import RuleError
from hivebox.audit.keyring import Keyring
from hivebox.audit.rules import Finding, finding

TYPE = "https://hivebox.dev/proof/v1"
_KINDS = {str: "a text", int: "a whole number", list: "a list"}


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


class Verdict(NamedTuple):
    """``records`` are proven to be among the first ``size`` of the ledger ``origin`` when no finding is an error.
    ``line`` in a finding counts the proof's records from 1. ``witnesses`` are those that cosigned."""

    findings: list[Finding]
    records: tuple[statement.Record, ...] = ()
    origin: str = ""
    size: int = 0
    witnesses: tuple[str, ...] = ()


def check(proof: Any, public_keys: Mapping[str, bytes], witnesses: Sequence[note.Verifier]) -> Verdict:
    """Nothing in ``proof`` is believed but what a key or the tree vouches for."""
    keys = Keyring(public_keys)
    findings: list[Finding] = []
    records = []
    try:
        if _field(proof, "type", str) != TYPE:
            raise RuleError("proof", f"type {TYPE}", repr(proof["type"]))
        checkpoint = _checkpoint(proof)
        if not keys.signed(checkpoint):
            findings.append(finding(0, "checkpoint", "a trusted key's signature", "none that is good"))
        items = _field(proof, "records", list)
        if not items:
            raise RuleError("proof", "at least one record", "none: this proves nothing")
        for number, item in enumerate(items, 1):
            try:
                records.append(_check_record(item, checkpoint, keys))
            except RuleError as error:
                findings.append(finding(number, error.rule, error.expected, error.got))
        if "since" in proof:
            _check_since(proof["since"], checkpoint)
    except RuleError as error:
        return Verdict([*findings, finding(0, error.rule, error.expected, error.got)])
    cosigned = tuple(witness.name for witness in witnesses if note.signed_by(checkpoint, witness) is not None)
    return Verdict(findings, tuple(records), checkpoint.origin, checkpoint.size, cosigned)


def _field(holder: Any, name: str, kind: type) -> Any:
    """Raises RuleError, as do the others."""
    value = holder.get(name) if isinstance(holder, dict) else None
    if type(value) is not kind:
        raise RuleError("proof", f"{name}: {_KINDS[kind]}", "nothing" if value is None else repr(value))
    return value


def _text(holder: Any, name: str) -> bytes:
    text: str = _field(holder, name, str)
    return text.encode(errors="surrogatepass")  # which nothing that is checked may contain


def _path(holder: Any) -> list[bytes]:
    path = _field(holder, "path", list)
    try:
        return [bytes.fromhex(text) for text in path]
    except (ValueError, TypeError) as error:
        raise RuleError("proof", "path: hashes in hexadecimal", str(error)) from error


def _checkpoint(holder: Any) -> note.Checkpoint:
    try:
        return note.parse(_text(holder, "checkpoint"))
    except note.NoteError as error:
        raise RuleError("checkpoint", "a signed checkpoint", str(error)) from error


def _check_record(item: Any, checkpoint: note.Checkpoint, keys: Keyring) -> statement.Record:
    line, index, path = _text(item, "line"), _field(item, "index", int), _path(item)
    opened = opening.unseal(line)
    record = opening.decode(opened.payload)
    keys.check(opened)
    if record.seq != index:
        raise RuleError("proof", f"record {index}", f"record {record.seq}")
    if record.seq == 0 and seals.origin_of(_sha256(line)) != checkpoint.origin:
        raise RuleError("checkpoint", f"a checkpoint of {seals.origin_of(_sha256(line))}", checkpoint.origin)
    try:
        root = tree.root_from_inclusion(tree.leaf_hash(line), record.seq, checkpoint.size, path)
    except tree.ProofError as error:
        raise RuleError("proof", f"a path to the root of {checkpoint.size} records", str(error)) from error
    if root != checkpoint.root:
        raise RuleError("proof", f"the root {checkpoint.root.hex()}", root.hex())
    return record


def _check_since(since: Any, checkpoint: note.Checkpoint) -> None:
    older, path = _checkpoint(since), _path(since)
    try:
        if older.origin != checkpoint.origin:
            raise tree.ProofError(f"a checkpoint of {older.origin}")
        tree.check_consistency(older.size, older.root, checkpoint.size, checkpoint.root, path)
    except tree.ProofError as error:
        raise RuleError("rewritten", f"a ledger that goes on after {older.size} records", str(error)) from error


def _hex(path: Sequence[bytes]) -> list[str]:
    return [each.hex() for each in path]


def _sha256(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
