"""The rules a ledger is held to; docs/audit-format.md#rules says each in full."""

from __future__ import annotations

from typing import NamedTuple

from hivebox.audit.envelope import quoted

ERROR, WARNING, NOTICE = "error", "warning", "notice"
# What breaks each rule. An error means: this ledger is not what was written.
RULES = {
    "line": (ERROR, "a line is too long"),
    "torn": (ERROR, "the last line has no end"),
    "envelope": (ERROR, "a line is not one canonical DSSE envelope"),
    "key": (ERROR, "signed with a key that is not among those given"),
    "expired": (ERROR, "signed with a key after its time, or after it was replaced"),
    "revoked": (ERROR, "signed with a key after it was revoked"),
    "keys": (ERROR, "a key record that no verifier can follow"),
    "signature": (ERROR, "the signature does not fit: the record was edited"),
    "statement": (ERROR, "the payload is not one canonical in-toto statement"),
    "predicate": (ERROR, "a field that every record has is missing or malformed"),
    "prev": (ERROR, "the line before is not the one this record was written after"),
    "gap": (ERROR, "records were deleted"),
    "order": (ERROR, "records were moved"),
    "duplicate": (ERROR, "a line is there twice"),
    "replay": (ERROR, "a line was copied from further up"),
    "head": (ERROR, "the ledger does not have the known head: its end was cut off or rewritten"),
    "checkpoint": (ERROR, "a checkpoint is malformed, of another ledger, or not signed by a key that is trusted"),
    "rollback": (ERROR, "the ledger ends before a checkpoint: its end was cut off, or it is an older copy"),
    "rewritten": (
        ERROR,
        "rightly signed records are not those that a checkpoint saw: someone with the key replaced them",
    ),
    "proof": (ERROR, "a proof that does not lead to its checkpoint"),
    "segment": (ERROR, "a segment's first record does not fit what is before it"),
    "run": (ERROR, "the records of a run are not one start and at most one end"),
    "event": (WARNING, "an event that this version does not know"),
    "recovered": (WARNING, "a torn line was dropped after a crash"),
    "clock": (WARNING, "time went backwards"),
    "pruned": (NOTICE, "the oldest records were removed by the policy that a record states"),
    "incomplete": (NOTICE, "a run has no end: it is running, or hivebox was killed"),
}


class Finding(NamedTuple):
    """``line`` counts from 1; 0 is the ledger as a whole. ``severity`` is error, warning or notice."""

    line: int
    rule: str
    expected: str
    got: str
    severity: str


def finding(line: int, rule: str, expected: str, got: str) -> Finding:
    """With the severity of its rule; a hostile line's texts are cut short."""
    return Finding(line, rule, quoted(expected), quoted(got), RULES[rule][0])
