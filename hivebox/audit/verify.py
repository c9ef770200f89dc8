"""The verifier: lines, public keys and checkpoints in, findings out. No I/O, no clock, no trust in whoever wrote the
file.

Every finding names one rule of docs/audit-format.md#rules, what that rule expects and what the ledger has.

An Ed25519 signature costs three times as much to verify as all the rest of a record. So a record's signature waits for
the next checkpoint: when the root that a trusted key signed there is the root of the very lines that were read, each of
them is what the holder of the key had, and had verified before signing (audit/checkpoints.py). Signatures that no good
checkpoint covers are verified one by one; ``every_signature`` verifies all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from hivebox.audit import envelope, note, opening, statement, tree
from hivebox.audit.envelope import MAX_LINE_BYTES, RuleError
from hivebox.audit.keyring import Keyring
from hivebox.audit.rules import ERROR, Finding, finding
from hivebox.audit.seals import Seals, origin_of, read_segment
from hivebox.audit.story import OpenRun, Story

_DIGEST_BYTES = 32


class Head(NamedTuple):
    """A record's position and the SHA-256 of its line: what a later verification can hold the ledger to."""

    seq: int
    line_sha256: str


class Evidence(NamedTuple):
    """What the ledger is held to beside itself. ``checkpoints`` are the notes found beside it or kept by the auditor.
    ``alone``: a single segment, whose predecessors are elsewhere."""

    head: Head | None = None
    checkpoints: tuple[bytes, ...] = ()
    witnesses: tuple[note.Verifier, ...] = ()
    every_signature: bool = False
    alone: bool = False
    seed: Seed | None = None


class Seed(NamedTuple):
    """Where a verification that was finished earlier goes on."""

    seq: int
    line_sha256: str
    origin: str
    hashes: tuple[bytes, ...]


class Verdict(NamedTuple):
    """``records`` counts the lines that hold a record, ``runs`` the starts. ``head`` is the last record's, or None;
    ``checkpointed`` the number of records that good checkpoints cover, ``witnessed`` those a witness cosigned."""

    findings: tuple[Finding, ...]
    lines: int
    records: int
    runs: int
    head: Head | None
    open_runs: tuple[OpenRun, ...]
    checkpointed: int = 0
    witnessed: int = 0
    root: str = ""

    @property
    def good(self) -> bool:
        """Warnings and notices leave a ledger good."""
        return all(finding.severity != ERROR for finding in self.findings)


def verify(
    lines: Iterable[bytes],
    public_keys: Mapping[str, bytes],
    expected_head: Head | None = None,
    evidence: Evidence | None = None,
) -> Verdict:
    """``lines`` come with their newline; ``public_keys`` maps keyid to 32 bytes. Findings are in line order."""
    verifier = Verifier(public_keys, evidence or Evidence(expected_head))
    for line in lines:
        verifier.feed(line)
    return verifier.finish()


class Verifier:
    """The same, line by line. Holds 32 bytes a line and one entry a run."""

    def __init__(self, public_keys: Mapping[str, bytes], evidence: Evidence) -> None:
        self._keys = Keyring(public_keys)
        self._evidence = evidence
        self._findings: list[Finding] = []
        self._digests = bytearray()
        self._line = 0
        self._records = 0
        self._next_seq = 0
        self._unread = 0  # lines since the last record in place; each may have been a record, or never one
        self._head: Head | None = None
        self._head_met = False
        self._gaps: list[tuple[int, range]] = []
        self._late: set[int] = set()
        self._prev = statement.FIRST_PREV  # the digest of the line before
        self._first = 0  # the number of the first record here, when older ones are elsewhere
        self._pruned_to = 0
        self._story = Story()
        self._seals = Seals(evidence.checkpoints, evidence.witnesses, self._keys)
        if evidence.seed:
            self._go_on(evidence.seed)

    def feed(self, line: bytes) -> None:
        """The next line, its newline included. Anything after a line without one is outside the format."""
        self._line += 1
        body = line.removesuffix(b"\n")
        digest = hashlib.sha256(body)
        try:
            if len(line) > MAX_LINE_BYTES:
                raise RuleError("line", f"at most {MAX_LINE_BYTES} bytes", str(len(line)))
            if body == line:
                raise RuleError("torn", "a line that ends in a newline", f"{len(line)} bytes without one")
            opened = opening.unseal(body)
            record = self._read(opened)
        except RuleError as error:
            self._add(error.rule, error.expected, error.got)
            self._unread += 1
        else:
            self._records += 1
            if self._line == 1 and not self._evidence.seed:
                self._begin(record, digest.hexdigest())
            if self._in_place(record, digest):
                self._follow(record, opened)
        self._digests += digest.digest()
        self._prev = digest.hexdigest()
        self._findings += self._seals.grow(body, self._line)

    def seed(self) -> Seed | None:
        """Where to go on, once every record so far was good."""
        seals = self._seals
        if self._head is None or seals.frontier.size != self._head.seq + 1:
            return self._evidence.seed
        return Seed(self._head.seq, self._head.line_sha256, seals.origin, tuple(seals.frontier.hashes))

    def finish(self) -> Verdict:
        """No more lines."""
        for line, missing in self._gaps:
            moved = all(seq in self._late for seq in missing)
            self._add("order" if moved else "gap", f"record {missing.start}", f"record {missing.stop}", line)
        self._check_first()
        self._findings += self._seals.finish(self._findings, self._next_seq)
        expected = self._evidence.head
        if expected is not None and not self._head_met:
            self._add("head", _show(expected), self._at_head(), 0)
        open_runs = tuple(self._story.open.values())
        for run in open_runs:
            self._add("incomplete", f"an end of run {run.record.run_id}", "none", run.line)
        findings = tuple(sorted(self._findings, key=lambda finding: finding.line or self._line + 1))
        seals = self._seals
        return Verdict(
            findings, self._line, self._records, self._story.started, self._head, open_runs,
            seals.checkpointed, seals.witnessed, seals.frontier.root().hex(),
        )  # fmt: skip

    def _read(self, opened: envelope.Envelope) -> statement.Record:
        """A bad signature is a finding, yet the record is read on: its place says what else was done to the file."""
        try:
            record = opening.decode(opened.payload)
        except RuleError:
            self._check_now(opened, "")
            raise
        if record.event == "key" or self._seals.is_full() or self._evidence.every_signature:
            self._check_now(opened, record.moment.utc)
        elif self._admits(opened, record.moment.utc):
            self._seals.wait(self._line, opened)
        return record

    def _admits(self, opened: envelope.Envelope, utc: str) -> bool:
        try:
            self._keys.admit(opened.keyid, utc)
        except RuleError as error:
            self._add(error.rule, error.expected, error.got)
            return error.rule != "key"  # its signature still says whether the record was edited
        return True

    def _check_now(self, opened: envelope.Envelope, utc: str) -> None:
        if self._admits(opened, utc):
            try:
                self._keys.check(opened)
            except RuleError as error:
                self._add(error.rule, error.expected, error.got)

    def _begin(self, record: statement.Record, digest: str) -> None:
        """A ledger whose older segments are elsewhere begins with the record that opened a segment."""
        self._seals.origin = origin_of(digest)
        if record.seq and record.event == "segment":
            try:
                self._seals.origin, self._seals.frontier = read_segment(record)
            except RuleError as error:
                self._add(error.rule, error.expected, error.got)
                return
            self._first = self._next_seq = record.seq
            self._prev = record.prev
            self._story.may_lack_starts = True

    def _go_on(self, seed: Seed) -> None:
        self._seals.origin = seed.origin
        self._seals.frontier = tree.Frontier(seed.seq + 1, seed.hashes)
        self._next_seq, self._prev = seed.seq + 1, seed.line_sha256
        self._story.may_lack_starts = True

    def _in_place(self, record: statement.Record, digest: Any) -> bool:
        if record.seq < self._next_seq:
            self._late.add(record.seq)
            self._add(*self._misplaced(record, digest.digest()))
            return False
        if record.seq > self._next_seq + self._unread:
            self._gaps.append((self._line, range(self._next_seq + self._unread, record.seq)))
        elif record.prev != self._prev:
            self._add("prev", record.prev, self._prev)
        self._next_seq, self._unread = record.seq + 1, 0
        self._head = Head(record.seq, digest.hexdigest())
        if self._head == self._evidence.head:
            self._head_met = True
        return True

    def _misplaced(self, record: statement.Record, digest: bytes) -> tuple[str, str, str]:
        expected = f"record {self._next_seq}"
        at = self._digests.find(digest)
        while at > 0 and at % _DIGEST_BYTES:
            at = self._digests.find(digest, at + 1)
        if at < 0:
            return "order", expected, f"record {record.seq}"
        earlier = at // _DIGEST_BYTES + 1
        rule = "duplicate" if earlier == self._line - 1 else "replay"
        return rule, expected, f"record {record.seq}, the same as line {earlier}"

    def _follow(self, record: statement.Record, opened: envelope.Envelope) -> None:
        """What a record in place means for those after it."""
        for remark in self._story.follow(record, self._line):
            self._add(*remark)
        try:
            if record.event == "key" and self._signed_well(opened):
                self._keys.follow(record.predicate.get("key"), opened.keyid)
            elif record.event == "segment" and self._line > 1:
                self._check_segment(record)
            elif record.event == "pruned":
                to = record.predicate.get("first_kept_seq")
                self._pruned_to = to if isinstance(to, int) and to <= record.seq else self._pruned_to
        except RuleError as error:
            self._add(error.rule, error.expected, error.got)

    def _signed_well(self, opened: envelope.Envelope) -> bool:
        try:
            self._keys.admit(opened.keyid, "")
            self._keys.check(opened)
        except RuleError:
            return False  # found before
        return True

    def _check_segment(self, record: statement.Record) -> None:
        origin, frontier = read_segment(record)
        mine = self._seals
        if (origin, frontier.hashes) != (mine.origin, mine.frontier.hashes) and not self._has_errors():
            raise RuleError("segment", f"the tree of the {mine.frontier.size} records before it", "another")

    def _has_errors(self) -> bool:
        return bool(self._gaps) or any(found.severity == ERROR for found in self._findings)

    def _check_first(self) -> None:
        if not self._first or self._evidence.alone:
            return
        if self._pruned_to >= self._first:
            self._add("pruned", "record 0", f"record {self._first}; those before were pruned", 1)
        else:
            self._add("gap", "record 0", f"record {self._first}", 1)

    def _at_head(self) -> str:
        wanted = self._evidence.head
        if self._head is None:
            return "no record"
        if wanted is not None and wanted.seq <= self._head.seq:
            return f"another record {wanted.seq}"
        return f"an end at {_show(self._head)}"

    def _add(self, rule: str, expected: str, got: str, line: int | None = None) -> None:
        self._findings.append(finding(self._line if line is None else line, rule, expected, got))


def _show(head: Head) -> str:
    return f"{head.seq}:{head.line_sha256}"
