"""Reading the ledger back: lines for the verifier, runs for people. Trusts nothing and repairs nothing."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hivebox.audit import envelope, opening, statement
from hivebox.audit.envelope import MAX_LINE_BYTES, RuleError
from hivebox.audit.journal import LOCK_TIMEOUT_S, lock
from hivebox.audit.story import ENDS
from hivebox.errors import HiveboxError, from_os_error


class Entry(NamedTuple):
    """One record of the ledger with where it stands; its signature is not verified."""

    line: int
    raw: bytes
    sealed: envelope.Envelope
    record: statement.Record

    def sha256(self) -> str:
        """Of the line without its newline: what the next record's ``prev`` has to say."""
        return hashlib.sha256(self.raw).hexdigest()


class Run(NamedTuple):
    """The records of one run. Either may be None in a ledger that was tampered with or whose end is missing."""

    run_id: str
    started: Entry | None
    finished: Entry | None


def read_lines(path: str) -> Iterator[bytes]:
    """The lines with their newlines, as far as the file was written when this began; the last may lack its own.

    The lock is held only to take the size: readers never hold up a run. Raises HiveboxError.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            lock(fd, fcntl.LOCK_SH, path, time.monotonic() + LOCK_TIMEOUT_S)
            rest = os.fstat(fd).st_size
            fcntl.flock(fd, fcntl.LOCK_UN)
            while line := file.readline(min(rest, MAX_LINE_BYTES + 1)):
                rest -= len(line)
                yield line
    except OSError as error:
        error.filename = path
        raise from_os_error("cannot read the audit ledger", error) from error


def entries(lines: Iterable[bytes]) -> Iterator[Entry]:
    """The lines that hold a record. The others are for ``audit verify`` to name."""
    for number, line in enumerate(lines, 1):
        raw = line.removesuffix(b"\n")
        try:
            sealed = opening.unseal(raw)
            yield Entry(number, raw, sealed, opening.decode(sealed.payload))
        except RuleError:
            continue


def runs(lines: Iterable[bytes]) -> list[Run]:
    """In the order in which they started."""
    found: dict[str, Run] = {}
    for entry in entries(lines):
        record = entry.record
        run = found.get(record.run_id, Run(record.run_id, None, None))
        if record.event == "started":
            found[record.run_id] = run._replace(started=entry)
        elif record.event in ENDS:
            found[record.run_id] = run._replace(finished=entry)
    return list(found.values())


def find_run(all_runs: Iterable[Run], prefix: str) -> Run:
    """The one run whose id is or begins with ``prefix``. Raises HiveboxError."""
    matching = [run for run in all_runs if run.run_id.startswith(prefix)]
    exact = [run for run in matching if run.run_id == prefix]
    if len(exact) == 1 or len(matching) == 1:
        return (exact or matching)[0]
    if not matching:
        raise HiveboxError(f"no run {prefix!r}", "no record of the ledger has it", "see hivebox audit list")
    names = ", ".join(run.run_id for run in matching[:5])
    raise HiveboxError(f"more than one run begins with {prefix!r}", names, "give more of the id")
