"""Where the next record goes: its number, the digest before it, and which runs are open.

``audit/state`` has it ready, one line of JSON written after each append under the ledger's lock, so that appending
costs the same whatever the ledger's length. It is a cache: believed only when the last line it knows is in the ledger
at that place, rebuilt from the ledger otherwise, and read by no verifier.
"""

from __future__ import annotations

import os
from binascii import crc32

from hivebox import plainjson
from hivebox.audit import envelope, statement, supervisor
from hivebox.audit.envelope import MAX_LINE_BYTES, RuleError
from hivebox.audit.journal import Journal
from hivebox.digest import sha256
from hivebox.errors import HiveboxError
from hivebox.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

NAME = "state"
_MOST_IN_DOUBT = 1024  # lines that one power loss may leave in any state: those of writers that waited for one sync
_BLOCK_BYTES = 1 << 20


class Place(Frozen):
    """``seq`` and ``line_sha256`` are the last record's (-1 and 64 zeros when there is none); it lies in the file from
    ``start`` to ``end``, its newline included, and is empty where a new segment begins. ``open_runs``: run_id ->
    the values of its supervisor.Watcher. ``torn`` is what follows ``end``."""

    seq: int
    line_sha256: str
    start: int
    end: int
    open_runs: dict[str, Sequence[Any]]
    torn: bytes = b""
    checkpointed: int = 0  # how many records the last checkpoint of our own making covers
    keyid: str = ""  # the key that the ledger was handed over to, if it was,
    not_after: str = ""  # and until when
    recovering: tuple[str, int] | None = None  # a torn end that was cut off and has no record yet: SHA-256, bytes
    looked_ns: int = 0  # when the open runs' supervisors were looked for, by CLOCK_BOOTTIME

    def after(self, line: bytes, record: statement.Record) -> Place:
        """The place behind one more record."""
        runs = self.open_runs
        if record.event == "started":
            watcher = supervisor.watcher_of(record)
            runs = {**runs, record.run_id: watcher} if watcher else runs
        elif record.event in ("finished", "aborted") and record.run_id in runs:
            runs = {run_id: who for run_id, who in runs.items() if run_id != record.run_id}
        end = self.end + len(line) + 1
        recovering = None if record.event == "recovered" else self.recovering
        digest = sha256(line).hexdigest()
        return Place(
            record.seq,
            digest,
            self.end,
            end,
            runs,
            b"",
            self.checkpointed,
            *(_handed_to(record) or (self.keyid, self.not_after)),
            recovering,
            self.looked_ns,
        )


def _handed_to(record: statement.Record) -> tuple[str, str] | None:
    """The key that the ledger is handed over to, and until when."""
    change = record.predicate.get("key") if record.event == "key" else None
    if not isinstance(change, dict) or change.get("action") != "rotate":
        return None
    return str(change.get("keyid", "")), str(change.get("not_after") or "")


def find(journal: Journal, before: Callable[[], tuple[int, str]]) -> Place:
    """The end of the locked ledger. ``before`` reads (seq, digest) of the last record of the segment before this file,
    or (-1, zeros). Raises HiveboxError when there is nothing to build on."""
    size = journal.size()
    known, same_boot = _read_state(journal, size)
    if known and same_boot and known.end == size:
        return known
    place = known or Place(*before(), 0, 0, {})
    if known and not same_boot:
        place = _back(journal, known)
    return _follow(journal, place, size, same_boot=same_boot)


def save(journal: Journal, place: Place) -> None:
    """Best effort: without it the next appender reads back."""
    state = {**place._asdict(), "boot_id": journal.boot_id, "ino": os.fstat(journal.fd).st_ino}
    del state["torn"]
    try:
        fd = _open_for_writing(journal.dir_fd)
        try:
            os.write(fd, _sealed(state))  # what a longer one leaves behind it is not read
            if place.recovering:
                os.fsync(fd)
        finally:
            os.close(fd)
    except OSError:
        return


def _open_for_writing(dir_fd: int) -> int:
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(NAME, flags, dir_fd=dir_fd)
    except FileNotFoundError:
        return os.open(NAME, flags | os.O_CREAT, 0o600, dir_fd=dir_fd)


def _sealed(state: dict[str, Any]) -> bytes:
    """With a check sum: a field that is not what was written would make records that do not verify."""
    text = plainjson.dumps(state).encode()
    return b"%b %08x\n" % (text, crc32(text))


def _unsealed(data: bytes) -> dict[str, Any]:
    """Raises ValueError."""
    text, _, check = data.partition(b"\n")[0].rpartition(b" ")
    if check != b"%08x" % crc32(text):
        raise ValueError("not what was written")
    return dict(plainjson.loads(text))


def _read_state(journal: Journal, size: int) -> tuple[Place | None, bool]:
    """(the place, or None when it does not fit the file; whether this boot wrote the state)."""
    try:
        fd = os.open(NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=journal.dir_fd)
    except FileNotFoundError:
        return None, False
    try:
        state = _unsealed(os.read(fd, os.fstat(fd).st_size))
        same_boot, ino = state.pop("boot_id") == journal.boot_id, state.pop("ino")
        recovering = state.pop("recovering")
        place = Place(**state, recovering=tuple(recovering) if recovering else None)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None, False
    finally:
        os.close(fd)
    if ino != os.fstat(journal.fd).st_ino:
        return None, False
    line = journal.read(place.start, place.end) if 0 <= place.start <= place.end <= size else b"gone"
    if line and (line[-1:] != b"\n" or sha256(line[:-1]).hexdigest() != place.line_sha256):
        return None, same_boot
    return place, same_boot


def _back(journal: Journal, place: Place) -> Place:
    """A place some lines earlier: after a power loss, blocks before a good line may be missing."""
    offset = max(0, place.end - _BLOCK_BYTES)
    data = journal.read(offset, place.end)
    while b"\n" in data:
        line, _, data = data.partition(b"\n")
        if record := _record(line):
            digest = sha256(line).hexdigest()
            return place._replace(seq=record.seq, line_sha256=digest, start=offset, end=offset + len(line) + 1)
        offset += len(line) + 1
    return place


def _follow(journal: Journal, place: Place, size: int, *, same_boot: bool) -> Place:
    """From a known place to the end of the file. Only a kill (no newline at the end) or a power loss (blocks missing,
    in the last lines alone) leaves less than whole records; anything else is not ours to mend."""
    place = _last_whole(journal, place, size)
    if place.end == size:
        return place
    torn = journal.read(place.end, min(size, place.end + 2 * MAX_LINE_BYTES))
    in_doubt = 0 if same_boot else _MOST_IN_DOUBT
    if place.end + len(torn) < size or torn.count(b"\n") > in_doubt:
        hint = "look with hivebox audit verify; then move the file away, and a new ledger begins"
        why = f"{journal.path}: what follows byte {place.end} is not a record, and no crash leaves that"
        raise HiveboxError("cannot add to the audit ledger", why, hint)
    return place._replace(torn=torn)


def _last_whole(journal: Journal, place: Place, size: int) -> Place:
    data, offset = b"", place.end
    while True:
        line, newline, rest = data.partition(b"\n")
        if newline:
            record = _record(line)
            if record is None or record.seq != place.seq + 1:
                return place
            place, data = place.after(line, record), rest
            continue
        block = journal.read(offset, min(size, offset + _BLOCK_BYTES))
        if not block or len(data) > MAX_LINE_BYTES:
            return place
        data, offset = data + block, offset + len(block)


def _record(line: bytes) -> statement.Record | None:
    """The signature is not looked at: a forged record must not stop every run, and the verifier names it."""
    try:
        return statement.decode(envelope.unseal(line).payload)
    except RuleError:
        return None
