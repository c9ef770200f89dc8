"""Appending records: the only place that signs."""

from __future__ import annotations

import os

from hivebox.audit import canonical, envelope, journal, statement
from hivebox.audit.keys import Signer, load_signer
from hivebox.digest import sha256
from hivebox.errors import HiveboxError
from hivebox.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any


class Appended(Frozen):
    """Where a record is. ``line_sha256`` with ``seq`` is the head that a later verification can hold the ledger to."""

    seq: int
    line_sha256: str
    path: str


class Ledger:
    """The ledger and key of one state directory. Cheap to make; nothing is read or imported before the first use.

    ``clock`` is asked under the lock, so that records are in the order of their times.
    """

    def __init__(
        self,
        state_dir: str,
        clock: Callable[[], statement.Moment] = statement.now,
        lock_timeout_s: float = journal.LOCK_TIMEOUT_S,
    ) -> None:
        self._state_dir = os.path.abspath(state_dir)
        self._clock = clock
        self._lock_timeout_s = lock_timeout_s
        self._signer: Signer | None = None

    def prepare(self) -> Signer:
        """Loads or makes the key. ``append`` does it by itself; call this where 7 ms are free, after the fork."""
        if self._signer is None:
            self._signer = load_signer(self._state_dir)
        return self._signer

    def append(
        self, event: str, run_id: str, subjects: Sequence[tuple[str, str]], predicate: Mapping[str, Any]
    ) -> Appended:
        """Signs and writes one record; it is on the disk when this returns. ``subjects`` are (name, SHA-256 in hex).

        Raises HiveboxError, and then the ledger is as it was: the run must not go on.
        """
        signer = self.prepare()

        def write(opened: journal.Journal) -> Appended:
            tail = self._recovered(opened, signer, opened.tail(_seq_of))
            return self._write(opened, signer, tail, (event, run_id, subjects, predicate))

        try:
            statement.check_content(run_id, subjects, predicate)
            return journal.with_journal(self._state_dir, self._lock_timeout_s, write)
        except (canonical.NotCanonicalError, envelope.RuleError) as error:
            raise HiveboxError("cannot write the audit record", str(error)) from error

    def _recovered(self, opened: journal.Journal, signer: Signer, tail: journal.Tail) -> journal.Tail:
        if not tail.torn:
            return tail
        digest = opened.drop_torn(tail)
        dropped = {"bytes": len(tail.torn), "kept_as": f"torn-{digest}", "sha256": digest}
        run_id = "recovered-" + os.urandom(8).hex()
        # A write of its own: were this and the caller's record torn together, the next recovery could not tell.
        self._write(opened, signer, tail, ("recovered", run_id, [("torn", digest)], {"dropped": dropped}))
        return opened.tail(_seq_of)

    def _write(
        self,
        opened: journal.Journal,
        signer: Signer,
        tail: journal.Tail,
        content: tuple[str, str, Sequence[tuple[str, str]], Mapping[str, Any]],
    ) -> Appended:
        event, run_id, subjects, predicate = content
        seq = tail.seq + 1
        prev = sha256(tail.line).hexdigest() if seq else statement.FIRST_PREV
        record = statement.Record(seq, prev, event, run_id, self._clock(), tuple(subjects), dict(predicate))
        payload = statement.encode(record)
        line = envelope.seal(payload, signer.keyid, signer.sign(envelope.pae(payload)))
        opened.append(line)
        return Appended(seq, sha256(line).hexdigest(), opened.path)


def _seq_of(line: bytes) -> int:
    """-1 for what is no record. The signature is not looked at: a forged last line must not stop every run, and the
    verifier names it."""
    try:
        return statement.decode(envelope.unseal(line).payload).seq
    except envelope.RuleError:
        return -1
