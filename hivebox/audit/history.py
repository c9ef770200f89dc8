"""Reading the ledger back for people, newest first. Trusts nothing, repairs nothing, needs no index: what was asked for
last is at the end, and the files are read from there."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hivebox.audit import envelope, journal, opening, segments, statement
from hivebox.audit.envelope import MAX_LINE_BYTES, RuleError
from hivebox.audit.story import ENDS
from hivebox.errors import HiveboxError, from_os_error

_BLOCK_BYTES = 64 << 10


class Entry(NamedTuple):
    """One record of the ledger; its signature is not verified."""

    raw: bytes
    sealed: envelope.Envelope
    record: statement.Record

    def sha256(self) -> str:
        """Of the line without its newline: what the next record's ``prev`` has to say."""
        return hashlib.sha256(self.raw).hexdigest()


class Run(NamedTuple):
    """The records of one run; ``finished`` may be ``aborted``. Either may be None in a ledger that was tampered with,
    or whose other segments are elsewhere."""

    run_id: str
    started: Entry | None
    finished: Entry | None


def lines_of(path: str) -> Iterator[bytes]:
    """Oldest first: of an audit directory with all its segments, or of one file."""
    return segments.read_lines(path) if os.path.isdir(path) else segments.file_lines(path)


def lines_backward(path: str) -> Iterator[bytes]:
    """The same, newest first, without the newlines; only what is asked for is read. Raises HiveboxError."""
    if not os.path.isdir(path):
        yield from _file_backward(path)
        return
    newest = os.path.join(path, journal.NAME)
    try:
        with open(newest, "rb") as file:
            journal.lock(file.fileno(), fcntl.LOCK_SH, newest, time.monotonic() + journal.LOCK_TIMEOUT_S)
            size, older = os.fstat(file.fileno()).st_size, segments.closed(path)
            fcntl.flock(file, fcntl.LOCK_UN)
            yield from _backward(file.fileno(), size)
    except OSError as error:
        error.filename = newest
        raise from_os_error("cannot read the audit ledger", error) from error
    for segment in reversed(older):
        if segment.path:
            yield from _file_backward(segment.path)


def _file_backward(path: str) -> Iterator[bytes]:
    if path.endswith(".gz"):
        yield from reversed([line.removesuffix(b"\n") for line in segments.file_lines(path)])
        return
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            yield from _backward(fd, os.fstat(fd).st_size)
        finally:
            os.close(fd)
    except OSError as error:
        error.filename = path
        raise from_os_error("cannot read the audit ledger", error) from error


def _backward(fd: int, end: int) -> Iterator[bytes]:
    data = b""
    while end > 0:
        start = max(0, end - max(_BLOCK_BYTES, len(data)))
        data, end = os.pread(fd, end - start, start) + data, start
        *_, first = rest = data.split(b"\n")[::-1]
        if end:
            rest.pop()  # its beginning is in the block before
            data = first if len(first) <= MAX_LINE_BYTES else b""
        yield from (line for line in rest if line)


def entries(lines: Iterable[bytes]) -> Iterator[Entry]:
    """The lines that hold a record. The others are for ``audit verify`` to name."""
    for line in lines:
        raw = line.removesuffix(b"\n")
        try:
            sealed = opening.unseal(raw)
            yield Entry(raw, sealed, opening.decode(sealed.payload))
        except RuleError:
            continue


def records_backward(path: str) -> Iterator[Entry]:
    """Newest first. Raises HiveboxError for a file that has lines, but no record."""
    is_ledger = False
    for entry in entries(lines_backward(path)):
        is_ledger = True
        yield entry
    if not is_ledger and next(lines_backward(path), None) is not None:
        hint = "give the ledger; hivebox audit verify says what is wrong with its lines"
        raise HiveboxError("not an audit ledger", f"{path}: no line of it is a record", hint)


def runs_backward(path: str) -> Iterator[Run]:
    """Newest start first; at the end those that have no start. Raises as records_backward."""
    ends: dict[str, Entry] = {}
    for entry in records_backward(path):
        record = entry.record
        if record.event in ENDS:
            ends.setdefault(record.run_id, entry)
        elif record.event == "started":
            yield Run(record.run_id, entry, ends.pop(record.run_id, None))
    for run_id, entry in ends.items():
        yield Run(run_id, None, entry)


def find_run(runs: Iterable[Run], prefix: str) -> Run:
    """The one run whose id is or begins with ``prefix``. Raises HiveboxError."""
    matching = []
    for run in runs:
        if run.run_id == prefix:
            return run
        if run.run_id.startswith(prefix):
            matching.append(run)
    if len(matching) == 1:
        return matching[0]
    if not matching:
        raise HiveboxError(f"no run {prefix!r}", "no record of the ledger has it", "see hivebox audit list")
    names = ", ".join(run.run_id for run in matching[:5])
    raise HiveboxError(f"more than one run begins with {prefix!r}", names, "give more of the id")
