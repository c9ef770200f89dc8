"""The verifier: lines and public keys in, findings out. No I/O, no clock, no trust in whoever wrote the file.

Every finding names one rule of docs/audit-format.md#rules, what that rule expects and what the ledger has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from hivebox.audit import envelope, statement
from hivebox.audit.envelope import MAX_LINE_BYTES, RuleError
from hivebox.audit.rules import ERROR, RULES, Finding

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_DIGEST_BYTES = 32


class Head(NamedTuple):
    """A record's position and the SHA-256 of its line: what a later verification can hold the ledger to."""

    seq: int
    line_sha256: str


class OpenRun(NamedTuple):
    """A run without an end; whether its supervisor still lives is for the caller to find out."""

    line: int
    record: statement.Record


class Verdict(NamedTuple):
    """``records`` counts the lines that hold a record, ``runs`` the starts. ``head`` is the last record's, or None."""

    findings: tuple[Finding, ...]
    lines: int
    records: int
    runs: int
    head: Head | None
    open_runs: tuple[OpenRun, ...]

    @property
    def good(self) -> bool:
        """Warnings and notices leave a ledger good."""
        return all(finding.severity != ERROR for finding in self.findings)


def verify(lines: Iterable[bytes], public_keys: Mapping[str, bytes], expected_head: Head | None = None) -> Verdict:
    """``lines`` come with their newline; ``public_keys`` maps keyid to 32 bytes. Findings are in line order."""
    verifier = Verifier(public_keys, expected_head)
    for line in lines:
        verifier.feed(line)
    return verifier.finish()


class Verifier:
    """The same, line by line. Holds 32 bytes a line and one entry a run."""

    def __init__(self, public_keys: Mapping[str, bytes], expected_head: Head | None = None) -> None:
        self._keys = Keyring(public_keys)
        self._expected_head = expected_head
        self._findings: list[Finding] = []
        self._digests = bytearray()
        self._line = 0
        self._records = 0
        self._runs = 0
        self._next_seq = 0
        self._unread = 0  # lines since the last record in place; each may have been a record, or never one
        self._head: Head | None = None
        self._head_met = False
        self._gaps: list[tuple[int, range]] = []
        self._late: set[int] = set()
        self._states: dict[str, OpenRun | None] = {}
        self._latest: dict[str, tuple[int, str]] = {}

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
            record = self._open(body)
        except RuleError as error:
            self._add(error.rule, error.expected, error.got)
            self._unread += 1
        else:
            self._records += 1
            if self._in_place(record, digest.digest()):
                self._check_run(record)
                self._check_clock(record)
        self._digests += digest.digest()

    def finish(self) -> Verdict:
        """No more lines."""
        for line, missing in self._gaps:
            moved = all(seq in self._late for seq in missing)
            self._add("order" if moved else "gap", f"record {missing.start}", f"record {missing.stop}", line)
        if self._expected_head is not None and not self._head_met:
            self._add("head", _show(self._expected_head), self._at_head(), 0)
        open_runs = tuple(run for run in self._states.values() if run is not None)
        for run in open_runs:
            self._add("incomplete", f"an end of run {run.record.run_id}", "none", run.line)
        findings = tuple(sorted(self._findings, key=lambda finding: finding.line or self._line + 1))
        return Verdict(findings, self._line, self._records, self._runs, self._head, open_runs)

    def _open(self, body: bytes) -> statement.Record:
        """A bad signature is a finding, yet the record is read on: its place says what else was done to the file."""
        opened = envelope.unseal(body)
        try:
            self._keys.check(opened)
        except RuleError as error:
            self._add(error.rule, error.expected, error.got)
        return statement.decode(opened.payload)

    def _in_place(self, record: statement.Record, digest: bytes) -> bool:
        before = self._digests[-_DIGEST_BYTES:].hex() or statement.FIRST_PREV
        if record.seq < self._next_seq:
            self._late.add(record.seq)
            self._add(*self._misplaced(record, digest))
            return False
        if record.seq > self._next_seq + self._unread:
            self._gaps.append((self._line, range(self._next_seq + self._unread, record.seq)))
        elif record.prev != before:
            self._add("prev", record.prev, before)
        self._next_seq, self._unread = record.seq + 1, 0
        self._head = Head(record.seq, digest.hex())
        self._head_met = self._head_met or self._head == self._expected_head
        return True

    def _misplaced(self, record: statement.Record, digest: bytes) -> tuple[str, str, str]:
        expected = f"record {self._next_seq}"
        at = self._digests.find(digest)
        if at < 0:
            return "order", expected, f"record {record.seq}"
        earlier = at // _DIGEST_BYTES + 1
        rule = "duplicate" if earlier == self._line - 1 else "replay"
        return rule, expected, f"record {record.seq}, the same as line {earlier}"

    def _check_run(self, record: statement.Record) -> None:
        if record.event not in statement.EVENTS:
            self._add("event", "one of " + ", ".join(statement.EVENTS), repr(record.event))
        elif record.event == "recovered":
            self._add("recovered", "no torn line", repr(record.predicate.get("dropped")))
        elif record.event == "started":
            if record.run_id in self._states:
                self._add("run", f"one start of run {record.run_id}", "another")
            self._runs += 1
            self._states[record.run_id] = OpenRun(self._line, record)
        else:
            if self._states.get(record.run_id) is None:
                self._add("run", f"an end after the start of run {record.run_id}", "an end without one")
            self._states[record.run_id] = None

    def _check_clock(self, record: statement.Record) -> None:
        """Within one boot nothing goes back. A warning: an administrator may set UTC, an attacker gains little."""
        moment = record.moment
        boottime_ns, utc = self._latest.get(moment.boot_id, (0, ""))
        if moment.boot_id and moment.boottime_ns < boottime_ns:
            self._add("clock", f"boottime_ns from {boottime_ns}", str(moment.boottime_ns))
        elif moment.boot_id and moment.utc < utc:
            self._add("clock", f"utc from {utc}", moment.utc)
        self._latest[moment.boot_id] = (moment.boottime_ns, moment.utc)

    def _at_head(self) -> str:
        wanted = self._expected_head
        if self._head is None:
            return "no record"
        if wanted is not None and wanted.seq <= self._head.seq:
            return f"another record {wanted.seq}"
        return f"an end at {_show(self._head)}"

    def _add(self, rule: str, expected: str, got: str, line: int | None = None) -> None:
        at, (severity, _) = self._line if line is None else line, RULES[rule]
        self._findings.append(Finding(at, rule, envelope.quoted(expected), envelope.quoted(got), severity))


class Keyring:
    """The public keys a verification trusts, by keyid."""

    def __init__(self, public_keys: Mapping[str, bytes]) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

        self._keys: dict[str, Ed25519PublicKey] = {
            keyid: Ed25519PublicKey.from_public_bytes(public) for keyid, public in public_keys.items()
        }

    def check(self, opened: envelope.Envelope) -> None:
        """Raises RuleError unless one of these keys signed the envelope."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

        key = self._keys.get(opened.keyid)
        if key is None:
            raise RuleError("key", "one of " + (", ".join(self._keys) or "no keys"), opened.keyid)
        try:
            key.verify(opened.signature, envelope.pae(opened.payload))
        except InvalidSignature as error:
            raise RuleError("signature", f"a signature by {opened.keyid}", "another") from error


def _show(head: Head) -> str:
    return f"{head.seq}:{head.line_sha256}"
