"""Appending records: the only place that signs."""

from __future__ import annotations

import os
import time

from hivebox.audit import canonical, commit, envelope, journal, place, statement, supervisor
from hivebox.audit.keys import Signer, load_signer, take_over
from hivebox.digest import sha256
from hivebox.errors import HiveboxError
from hivebox.frozen import Frozen
from hivebox.kernel.pid import namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, TypeVar

    T = TypeVar("T")

_MOST_ABORTED = 16  # runs found dead that one append speaks for: it must not be slow
# Nobody else appends while the supervisor of each open run is looked for: of more than a few, not every time.
_ALWAYS_LOOKED_FOR = 4
_LOOK_EVERY_NS = 20_000_000


class Appended(Frozen):
    """Where a record is. ``line_sha256`` with ``seq`` is the head that a later verification can hold the ledger to."""

    seq: int
    line_sha256: str
    path: str
    checkpoint_due: bool = False


class Ledger:
    """The ledger and key of one state directory. Cheap to make; nothing is read or imported before the first use.

    ``clock`` is asked under the lock, so that records are in the order of their times; None is this host's.
    """

    def __init__(
        self,
        state_dir: str,
        clock: Callable[[], statement.Moment] | None = None,
        lock_timeout_s: float = journal.LOCK_TIMEOUT_S,
    ) -> None:
        self._state_dir = os.path.abspath(state_dir)
        self._clock = clock
        self._lock_timeout_s = lock_timeout_s
        self._signer: Signer | None = None
        self._boot_id: str | None = None

    def prepare(self) -> Signer:
        """Loads or makes the key. ``append`` does it by itself; call this where 7 ms are free, after the fork."""
        if self._signer is None:
            self._signer = load_signer(self._state_dir)
        return self._signer

    def append(
        self, event: str, run_id: str, subjects: Sequence[tuple[str, str]], predicate: Mapping[str, Any]
    ) -> Appended:
        """Signs and writes one record; it is on the disk when this returns. ``subjects`` are (name, SHA-256 in hex).

        Raises HiveboxError, and then the run must not go on (commit.commit says where the record is).
        """
        return self.append_all([draft(event, run_id, subjects, predicate)])[0]

    def append_all(self, drafts: Sequence[statement.Draft]) -> list[Appended]:
        """As ``append`` one after the other, under one lock and by one sync: all of them, or HiveboxError."""
        self.prepare()
        deadline_s = time.monotonic() + self._lock_timeout_s
        appended = None
        while appended is None:
            appended = self._with(deadline_s, lambda opened: self._append(opened, drafts, deadline_s))
            if appended is None:
                self._with(deadline_s, self._settle, settled=True)
        if appended[-1].checkpoint_due:
            self._checkpoint()
        return appended

    def protect(self, *, on: bool) -> str:
        """chattr +a or -a for the open segment. "" when it was done, else why not."""
        deadline_s = time.monotonic() + self._lock_timeout_s
        return self._with(deadline_s, lambda opened: opened.protect(on=on))

    def rotate(self) -> None:
        """Close the open segment, whatever its size. An empty one stays."""
        deadline_s = time.monotonic() + self._lock_timeout_s
        self._with(deadline_s, lambda opened: self._settle(opened, rotate_at_bytes=1), settled=True)

    def _with(self, deadline_s: float, act: Callable[[journal.Journal], T], *, settled: bool = False) -> T:
        if self._boot_id is None:
            self._boot_id = statement.boot_id()
        return journal.with_journal(self._state_dir, deadline_s, act, settled=settled, boot_id=self._boot_id)

    def _append(
        self, opened: journal.Journal, asked: Sequence[statement.Draft], deadline_s: float
    ) -> list[Appended] | None:
        """None when the ledger must be settled first."""
        found = place.find(opened, lambda: _last_before(opened))
        if found.torn or found.recovering or found.end >= opened.settings.segment_bytes:
            return None
        drafts = [*asked]
        events = [drawn.event for drawn in asked]
        if "started" in events and found.open_runs:
            found, dead = _look_for_dead(found, opened.boot_id)
            drafts = [*dead, *drafts]
        if found.seq >= 0 and not found.end:
            drafts = [_segment(opened), *drafts]
        lines, after = self._sign(found, drafts)
        every = opened.settings.checkpoint_every
        due = "finished" in events and 0 < every <= after.seq + 1 - found.checkpointed
        if due:
            after = after._replace(checkpointed=after.seq + 1)  # told under the lock: only one of many makes it
        opened.write(lines)
        place.save(opened, after)
        opened.unlock()
        commit.commit(opened, found.end, b"\n".join(lines) + b"\n", deadline_s)
        first = after.seq + 1 - len(asked)
        digests = [sha256(line).hexdigest() for line in lines[-len(asked) :]]
        return [Appended(first + index, digest, opened.path, due) for index, digest in enumerate(digests)]

    def _settle(self, opened: journal.Journal, rotate_at_bytes: int = 0) -> None:
        """Recover from a torn end, then close the segment if it is large enough."""
        found = self._recovered(opened, place.find(opened, lambda: _last_before(opened)))
        if found.end >= (rotate_at_bytes or opened.settings.segment_bytes):
            from hivebox.audit import segments  # noqa: PLC0415  # once in 64 MiB

            segments.rotate(opened, found)

    def _checkpoint(self) -> None:
        """Best effort: the record is durable already, and the next checkpoint covers what this one would have."""
        from hivebox.audit import checkpoints  # noqa: PLC0415  # once in a thousand records

        try:  # noqa: SIM105  # contextlib is not on the run path
            checkpoints.make(self._state_dir, self.prepare())
        except (HiveboxError, OSError):
            pass

    def _recovered(self, opened: journal.Journal, found: place.Place) -> place.Place:
        """A torn end is kept beside the ledger, then cut off, then told in a record of its own. A kill in between
        leaves ``recovering`` in the state, so that the next appender tells it."""
        if found.torn:
            recovering = (opened.keep_torn(found.torn), len(found.torn))
            place.save(opened, found._replace(recovering=recovering))
            commit.cut(opened, found.end)
            found = found._replace(torn=b"", recovering=recovering)
        if not found.recovering:
            return found
        digest, size = found.recovering
        dropped = {"bytes": size, "kept_as": f"torn-{digest}", "sha256": digest}
        run_id = "recovered-" + os.urandom(8).hex()
        drawn = statement.draft("recovered", run_id, [("torn", digest)], {"dropped": dropped})
        lines, after = self._sign(found, [drawn])
        opened.write(lines)
        commit.sync(opened, found.end, deadline_s=0)
        place.save(opened, after)
        return after

    def _signer_for(self, found: place.Place) -> Signer:
        """The key may have been rotated since it was loaded."""
        signer = self.prepare()
        if found.keyid and signer.keyid != found.keyid:
            signer = self._signer = take_over(self._state_dir, found.keyid)
        return signer

    def _sign(self, found: place.Place, drafts: Sequence[statement.Draft]) -> tuple[list[bytes], place.Place]:
        """Their lines, and the place behind them."""
        signer = self._signer_for(found)
        lines = []
        for drawn in drafts:
            moment = self._clock() if self._clock else statement.now(self._boot_id)
            if found.not_after and moment.utc > found.not_after:
                raise _outlived(signer, found.not_after)
            record, payload = drawn.at(found.seq + 1, found.line_sha256, moment)
            lines.append(envelope.seal(payload, signer.keyid, signer.sign(envelope.pae(payload))))
            found = found.after(lines[-1], record)
        return lines, found


def draft(
    event: str, run_id: str, subjects: Sequence[tuple[str, str]], predicate: Mapping[str, Any]
) -> statement.Draft:
    """What a record is to say, checked and encoded: most of what an append costs, and nobody waits for it. Raises
    HiveboxError."""
    try:
        drawn = statement.draft(event, run_id, subjects, predicate)
    except (canonical.NotCanonicalError, envelope.RuleError) as error:
        raise HiveboxError("cannot write the audit record", str(error)) from error
    # Before it waits with others: one that is too long must not have them refused too.
    journal.check_size(sum(map(len, drawn.pieces)) * 4 // 3)
    return drawn


def _outlived(signer: Signer, not_after: str) -> HiveboxError:
    """No verifier would accept what it signs now, a change of the key least of all."""
    why = f"key {signer.keyid} is for records until {not_after}"
    hint = "if the clock is right, move audit/ away to begin a new ledger; next time, rotate the key before that day"
    return HiveboxError("cannot sign the audit record", why, hint)


def _look_for_dead(found: place.Place, boot_id: str) -> tuple[place.Place, list[statement.Draft]]:
    """An end for each run whose hivebox is gone."""
    now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    if len(found.open_runs) > _ALWAYS_LOOKED_FOR and 0 <= now_ns - found.looked_ns < _LOOK_EVERY_NS:
        return found, []
    ours = namespaces()
    watched = [(run_id, supervisor.Watcher(*who)) for run_id, who in found.open_runs.items()]
    dead = [run_id for run_id, watcher in watched if supervisor.is_gone(watcher, boot_id, ours)][:_MOST_ABORTED]
    why = "the hivebox that watched this run was killed, or its host went down"
    content = {"result": {"outcome": "aborted", "why": why}, "noticed_by": supervisor.identify()} if dead else {}
    return found._replace(looked_ns=now_ns), [statement.draft("aborted", run_id, (), content) for run_id in dead]


def _last_before(opened: journal.Journal) -> tuple[int, str]:
    if not any(name.startswith("segment-") for name in os.listdir(opened.dir_fd)):
        return -1, statement.FIRST_PREV
    from hivebox.audit import segments  # noqa: PLC0415  # only where the state has to be rebuilt

    return segments.last_before(os.path.dirname(opened.path))


def _segment(opened: journal.Journal) -> statement.Draft:
    """The first record of a segment that is not the first."""
    from hivebox.audit import segments  # noqa: PLC0415

    said = segments.tree_before(opened)
    run_id = "segment-" + os.urandom(8).hex()
    why_not = opened.protect(on=True) if opened.settings.append_only else "not asked for"
    append_only = {"set": not why_not, "why_not": why_not}
    return statement.draft("segment", run_id, (), {"tree": said, "append_only": append_only})
