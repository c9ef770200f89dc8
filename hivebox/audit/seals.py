"""The tree as it grows, the checkpoints it must meet, and the signatures that wait for one. Pure; part of the
verifier."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from hivebox.audit import envelope, note, statement, tree
from hivebox.audit.envelope import RuleError
from hivebox.audit.keyring import Keyring
from hivebox.audit.rules import ERROR, Finding, finding

_ORIGIN = "hivebox.dev/audit/"
_MOST_WAITING_BYTES = 64 << 20  # of payloads whose signatures wait for a checkpoint


class _Broken(NamedTuple):
    line: int
    checkpoint: note.Checkpoint
    root: bytes


class Seals:
    """``checkpointed`` is the number of records that good checkpoints cover, ``witnessed`` those a witness cosigned."""

    def __init__(self, checkpoints: Iterable[bytes], witnesses: tuple[note.Verifier, ...], keys: Keyring) -> None:
        self.frontier = tree.Frontier()
        self.origin = ""
        self.checkpointed = 0
        self.witnessed = 0
        self._keys = keys
        self._witnesses = witnesses
        self._problems: list[Finding] = []
        self._expected: dict[int, list[note.Checkpoint]] = {}
        self._waiting: list[tuple[int, envelope.Envelope]] = []
        self._waiting_bytes = 0
        self._broken: list[_Broken] = []
        for text in checkpoints:
            try:
                checkpoint = note.parse(text)
                self._expected.setdefault(checkpoint.size, []).append(checkpoint)
            except note.NoteError as error:
                self._problems.append(finding(0, "checkpoint", "a signed checkpoint", str(error)))
        self._last = max(self._expected, default=0)

    def is_full(self) -> bool:
        """No checkpoint is to come, or too much waits for one."""
        return self.frontier.size >= self._last or self._waiting_bytes > _MOST_WAITING_BYTES

    def wait(self, line: int, opened: envelope.Envelope) -> None:
        """A record whose signature nobody has verified yet."""
        self._waiting.append((line, opened))
        self._waiting_bytes += len(opened.payload)

    def grow(self, body: bytes, line: int) -> list[Finding]:
        """One more line; what the checkpoints of the size now reached say."""
        self.frontier.add(tree.leaf_hash(body))
        if not self._waiting and not self._expected:
            return []
        found: list[Finding] = []
        for checkpoint in self._expected.pop(self.frontier.size, ()):
            found += self._meet(checkpoint, line)
        return found + self._verify_waiting() if self._waiting and self.is_full() else found

    def finish(self, before: list[Finding], next_seq: int) -> list[Finding]:
        """Checkpoints never reached, and those whose root was another: only a symptom when a record was found bad."""
        found = self._problems + self._verify_waiting()
        bad_lines = [each.line for each in [*before, *found] if each.severity == ERROR and each.line]
        for line, checkpoint, root in self._broken:
            if not any(bad <= line for bad in bad_lines):
                got = f"{checkpoint.size} records whose root is {root.hex()}"
                found.append(finding(0, "rewritten", self._describe(checkpoint), got))
        for size in sorted(self._expected):
            for checkpoint in self._expected[size]:
                if size > next_seq and self._is_ours(checkpoint, found):
                    got = f"an end after {next_seq}"
                    found.append(finding(0, "rollback", self._describe(checkpoint), got))
        return found

    def _meet(self, checkpoint: note.Checkpoint, line: int) -> list[Finding]:
        found: list[Finding] = []
        if not self._is_ours(checkpoint, found):
            return found
        root = self.frontier.root()
        if checkpoint.root != root:
            self._broken.append(_Broken(line, checkpoint, root))
            return found + self._verify_waiting()
        self._waiting, self._waiting_bytes = [], 0
        self.checkpointed = checkpoint.size
        if self._cosigners(checkpoint):
            self.witnessed = checkpoint.size
        return found

    def _is_ours(self, checkpoint: note.Checkpoint, found: list[Finding]) -> bool:
        if self.origin and checkpoint.origin != self.origin:
            found.append(finding(0, "checkpoint", f"a checkpoint of {self.origin}", checkpoint.origin))
            return False
        if not self._keys.signed(checkpoint):
            wanted = f"a trusted key's signature of the checkpoint of {checkpoint.size} records"
            found.append(finding(0, "checkpoint", wanted, "none that is good"))
            return False
        return True

    def _cosigners(self, checkpoint: note.Checkpoint) -> list[str]:
        signed = [(witness.name, note.signed_by(checkpoint, witness)) for witness in self._witnesses]
        return [f"{name} at {_utc(seconds)}" for name, seconds in signed if seconds is not None]

    def _describe(self, checkpoint: note.Checkpoint) -> str:
        cosigners = self._cosigners(checkpoint)
        seen = ", seen by " + ", ".join(cosigners) if cosigners else ""
        return f"{checkpoint.size} records whose root is {checkpoint.root.hex()}{seen}"

    def _verify_waiting(self) -> list[Finding]:
        found = []
        for line, opened in self._waiting:
            try:
                self._keys.check(opened)
            except RuleError as error:
                found.append(finding(line, error.rule, error.expected, error.got))
        self._waiting, self._waiting_bytes = [], 0
        return found


def origin_of(first_line_sha256: str) -> str:
    """The name of a ledger: its first record cannot be exchanged without giving it another."""
    return _ORIGIN + first_line_sha256[:32]


def read_segment(record: statement.Record) -> tuple[str, tree.Frontier]:
    """(origin, tree of all records before) from a ``segment`` record. Raises RuleError."""
    said: Any = record.predicate.get("tree")
    try:
        origin, hashes, size = said["origin"], [bytes.fromhex(text) for text in said["hashes"]], said["size"]
        if size != record.seq or not isinstance(origin, str):
            raise ValueError(f"size {size!r}, origin {origin!r}")
        return origin, tree.Frontier(size, hashes)
    except (TypeError, KeyError, ValueError) as error:
        raise RuleError("segment", f"the tree of the {record.seq} records before it", repr(error)) from error


def _utc(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else "an unknown time"
