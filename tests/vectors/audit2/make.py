#!/usr/bin/env python3
"""Writes the golden ledger of format version 2, its checkpoints and its tampered copies beside this file, always the same
bytes. As for version 1 (../audit/make.py), they are kept for ever.

``expected.json``: for each vector the errors and remarks as [line, rule], the checkpoints it is held to, and whether it is
a segment alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2]))

from hivebox.audit import envelope, keys, note, seals, statement, tree  # noqa: E402

OWNER, SECOND, STRANGER, WITNESS = (
    keys.signer_from_seed(hashlib.sha256(f"hivebox test vectors 2: {name}".encode()).digest())
    for name in ("owner", "second", "stranger", "witness")
)
WITNESS_KEY = note.Verifier("witness.example/w1", note.COSIGNATURE, WITNESS.public)
BOOT = "11111111-2222-3333-4444-555555555555"
SUBJECTS = (("script", hashlib.sha256(b"print('hello')\n").hexdigest()),)
Content = dict[str, Any]


class Step(NamedTuple):
    """One record to write."""

    event: str
    run_id: str
    content: Content
    signer: keys.Signer = OWNER
    version: int = 2


class Vector(NamedTuple):
    """``remarks`` are warnings and notices."""

    lines: list[bytes]
    errors: list[tuple[int, str]]
    remarks: list[tuple[int, str]]
    checkpoints: tuple[str, ...] = ()
    alone: bool = False
    keys: tuple[str, ...] = ("owner",)


def rotated(to: keys.Signer, not_after: str = "") -> Content:
    public = base64.b64encode(to.public).decode()
    return {"key": {"action": "rotate", "keyid": to.keyid, "not_after": not_after, "public": public}}


def revoked(who: keys.Signer) -> Content:
    return {"key": {"action": "revoke", "keyid": who.keyid, "reason": "lost"}}


SEGMENT: Content = {"tree": None}  # filled in when its place is known
STEPS = [
    Step("started", "run-a", {"request": {"argv": ["h\u00e9.py", "\udcff"], "profile": "default"}}),
    Step("started", "run-b", {"request": {"argv": ["b"], "profile": "default"}}),
    Step("finished", "run-a", {"result": {"outcome": "ok", "exit_code": 0, "wall_s": 0.25, "cpu_user_s": 1e-9}}),
    Step("aborted", "run-b", {"result": {"outcome": "aborted"}}),
    Step("key", "key-1", rotated(SECOND, "2026-01-31T23:59:59.999999Z")),
    Step("started", "run-c", {"big": 2**64 - 1}, SECOND),
    Step("key", "key-2", revoked(OWNER), SECOND),
    Step("finished", "run-c", {"result": {"outcome": "failed"}}, SECOND),
    Step("segment", "segment-1", SEGMENT, SECOND),
    Step("started", "run-d", {}, SECOND),
    Step("finished", "run-d", {}, SECOND),
    Step("pruned", "pruned-1", {"first_kept_seq": 8, "policy": {"keep_days": 1}}, SECOND),
]


def digest(line: bytes) -> str:
    return hashlib.sha256(line.removesuffix(b"\n")).hexdigest()


def frontier_of(lines: list[bytes]) -> tree.Frontier:
    frontier = tree.Frontier()
    for line in lines:
        frontier.add(tree.leaf_hash(line.removesuffix(b"\n")))
    return frontier


def said_of(lines: list[bytes]) -> Content:
    frontier = frontier_of(lines)
    hashes = [each.hex() for each in frontier.hashes]
    return {
        "hashes": hashes,
        "origin": seals.origin_of(digest(lines[0])),
        "root": frontier.root().hex(),
        "size": frontier.size,
    }


def line_of(lines: list[bytes], step: Step, day: str = "2026-01-31") -> bytes:
    """The next line behind ``lines``."""
    seq = len(lines)
    ticks = 1_000_000_000 * (5_000 + seq)
    moment = statement.Moment(f"{day}T23:00:{seq:02d}.000000Z", ticks, ticks - 7, BOOT)
    prev = digest(lines[-1]) if lines else statement.FIRST_PREV
    content = {"tree": said_of(lines)} if step.content is SEGMENT else step.content
    record = statement.Record(seq, prev, step.event, step.run_id, moment, SUBJECTS, content, step.version)
    payload = statement.encode(record)
    return envelope.seal(payload, step.signer.keyid, step.signer.sign(envelope.pae(payload))) + b"\n"


def ledger(steps: list[Step]) -> list[bytes]:
    lines: list[bytes] = []
    for step in steps:
        lines.append(line_of(lines, step))
    return lines


GOLDEN = ledger(STEPS)


def checkpoint(lines: list[bytes], signer: keys.Signer = SECOND, *, witnessed: bool = False) -> bytes:
    frontier = frontier_of(lines)
    made = note.make(seals.origin_of(digest(lines[0])), frontier.size, frontier.root(), signer.public, signer.sign)
    if witnessed:
        seconds = 1_769_900_000
        raw = seconds.to_bytes(8, "big") + WITNESS.sign(note.cosigned(made.text, seconds))
        made = made.with_signatures((note.Signature(WITNESS_KEY.name, WITNESS_KEY.key_hash, raw),))
    return made.note()


def changed(index: int, *steps: Step, rest: bool = True) -> list[bytes]:
    """Record ``index`` replaced by others; what follows stays as it was, or is signed anew (``rest`` False)."""
    lines = GOLDEN[:index]
    for step in steps:
        lines = [*lines, line_of(lines, step)]
    return [*lines, *GOLDEN[index + 1 :]] if rest else lines


def rewritten(edit: Callable[[list[Step]], None]) -> list[bytes]:
    """By a thief who has every key: another ledger that is as good in itself."""
    steps = list(STEPS)
    edit(steps)
    return ledger(steps)


def stolen(steps: list[Step]) -> None:
    steps[2] = steps[2]._replace(content={"result": {"outcome": "failed"}})


def edited(index: int) -> list[bytes]:
    sealed = envelope.unseal(GOLDEN[index][:-1])
    payload = sealed.payload.replace(b'"outcome":"', b'"outcome":"x')
    assert payload != sealed.payload
    return [*GOLDEN[:index], envelope.seal(payload, sealed.keyid, sealed.signature) + b"\n", *GOLDEN[index + 1 :]]


NOTES = {
    "witnessed-4": checkpoint(GOLDEN[:4], OWNER, witnessed=True),
    "second-8": checkpoint(GOLDEN[:8]),
    "second-12": checkpoint(GOLDEN),
    "stranger-8": checkpoint(GOLDEN[:8], STRANGER),
    "edited-8": checkpoint(GOLDEN[:8]).replace(b"\n8\n", b"\n9\n"),
    "other-ledger-4": checkpoint(
        rewritten(lambda steps: steps.__setitem__(0, Step("started", "run-x", {})))[:4], OWNER
    ),
    "no-checkpoint": b"hello\n",
}
ALL = ("witnessed-4", "second-8", "second-12")
WRONG_TREE = {"tree": {**said_of(GOLDEN[:8]), "hashes": ["ab" * 32]}}


def vectors() -> dict[str, Vector]:
    g = GOLDEN
    return {
        "golden": Vector(g, [], []),
        "golden-checkpointed": Vector(g, [], [], ALL),
        "edited": Vector(edited(2), [(3, "signature"), (4, "prev")], []),
        "edited-checkpointed": Vector(edited(2), [(3, "signature"), (4, "prev")], [], ALL),
        "edited-behind-the-last-checkpoint": Vector(edited(7), [(8, "signature"), (9, "prev")], [], ("witnessed-4",)),
        "deleted-checkpointed": Vector([*g[:2], *g[3:]], [(3, "gap")], [(1, "incomplete")], ("witnessed-4",)),
        "swapped-checkpointed": Vector([*g[:9], g[10], g[9], g[11]], [(10, "order"), (10, "run"), (11, "order"), (12, "prev")], [], ("witnessed-4",)),
        "duplicated-checkpointed": Vector([*g[:9], g[8], *g[9:]], [(10, "duplicate")], [], ("second-8",)),
        "signed-after-rotation": Vector(changed(5, STEPS[5]._replace(signer=OWNER)), [(6, "expired"), (7, "prev")], []),
        "signed-after-revocation": Vector(changed(7, STEPS[7]._replace(signer=OWNER)), [(8, "revoked"), (9, "prev")], []),
        "signed-by-a-stranger": Vector(changed(5, STEPS[5]._replace(signer=STRANGER)), [(6, "key"), (7, "prev")], []),
        "rotated-by-a-stranger": Vector([*g[:4], line_of(g[:4], STEPS[4]._replace(signer=STRANGER))], [(5, "key")], []),
        "after-its-last-day": Vector([*g, line_of(g, Step("started", "run-e", {}, SECOND), "2026-02-01")], [(13, "expired")], [(13, "incomplete")]),
        "keys-without-sense": Vector([*g, line_of(g, Step("key", "key-3", {"key": {"action": "lend"}}, SECOND))], [(13, "keys")], []),
        "aborted-twice": Vector([*g, line_of(g, Step("aborted", "run-b", {}, SECOND))], [(13, "run")], []),
        "rewritten-with-stolen-keys": Vector(rewritten(stolen), [], []),
        "rewritten-after-a-witnessed-checkpoint": Vector(rewritten(stolen), [(0, "rewritten")], [], ("witnessed-4",)),
        "cut-off": Vector(g[:11], [(0, "rollback")], [], ("second-12",)),
        "older-copy": Vector(g[:8], [(0, "rollback")], [], ALL),
        "checkpoint-of-a-stranger": Vector(g, [(0, "checkpoint")], [], ("stranger-8",)),
        "checkpoint-edited": Vector(g, [(0, "checkpoint")], [], ("edited-8",)),
        "checkpoint-of-another-ledger": Vector(g, [(0, "checkpoint")], [], ("other-ledger-4",)),
        "checkpoint-that-is-none": Vector(g, [(0, "checkpoint")], [], ("no-checkpoint",)),
        "segment-alone": Vector(g[8:], [], [], ("second-12",), alone=True, keys=("second",)),
        "segment-first-of-pruned": Vector(g[8:], [], [(1, "pruned")], ("second-12",), keys=("second",)),
        "segment-without-a-statement": Vector(g[8:11], [(1, "gap")], [], keys=("second",)),
        "segment-missing": Vector([*g[:4], *g[8:]], [(5, "gap")], [], keys=("owner", "second")),
        "segment-of-another-tree": Vector(changed(8, STEPS[8]._replace(content=WRONG_TREE)), [(9, "segment"), (10, "prev")], []),
        "segment-of-no-tree": Vector(changed(8, STEPS[8]._replace(content={})), [(9, "segment"), (10, "prev")], []),
    }  # fmt: skip


def main() -> None:
    expected: dict[str, dict[str, Any]] = {}
    for name, vector in vectors().items():
        (HERE / f"{name}.jsonl").write_bytes(b"".join(vector.lines))
        expected[name] = {"errors": vector.errors, "remarks": vector.remarks, "checkpoints": vector.checkpoints, "alone": vector.alone, "keys": vector.keys}  # fmt: skip
    for name, text in NOTES.items():
        (HERE / f"{name}.note").write_bytes(text)
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
    (HERE / "owner.pub.pem").write_bytes(keys.public_to_pem(OWNER.public))
    (HERE / "second.pub.pem").write_bytes(keys.public_to_pem(SECOND.public))
    (HERE / "witness.vkey").write_text(f"{WITNESS_KEY}\n")


if __name__ == "__main__":
    main()
