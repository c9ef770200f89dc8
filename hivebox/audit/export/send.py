"""The export itself: records behind the cursor, in batches, until the target has each."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator

from hivebox.audit import history, segments
from hivebox.audit.export import forms
from hivebox.audit.export.cursor import Cursor
from hivebox.errors import HiveboxError

_BATCH = 200
_LONGEST_PAUSE_S = 60.0


def send(audit_dir: str, cursor: Cursor, deliver: Callable[[list[bytes]], None], form: str) -> int:
    """Everything that is there now; how many records. Raises HiveboxError, OSError when the target did not take it."""
    count = 0
    for batch in _batches(_after(audit_dir, cursor)):
        facts = [forms.fact_of(entry, os.uname().nodename) for entry in batch]
        deliver([forms.otlp(facts)] if form == "otlp" else [forms.LINES[form](fact) for fact in facts])
        cursor.move(batch[-1].record.seq, batch[-1].sha256())
        count += len(batch)
    return count


def follow(once: Callable[[], int], say: Callable[[str], None], look_s: float) -> None:
    """``once`` for ever; a target that is down is tried again, less and less often."""
    pause_s = look_s
    while True:
        try:
            once()
            pause_s = look_s
        except OSError as error:
            pause_s = min(max(pause_s * 2, 1.0), _LONGEST_PAUSE_S)
            say(f"not taken, again in {pause_s:.0f} s: {error}")
        time.sleep(pause_s)


def _after(audit_dir: str, cursor: Cursor) -> Iterator[history.Entry]:
    """Raises HiveboxError when the ledger no longer has the record where the export stopped: nothing is sent twice or
    left out without a word because somebody exchanged it."""
    entries = history.entries(segments.read_lines(audit_dir, after_seq=cursor.seq - 1))
    for entry in entries:
        if entry.record.seq > cursor.seq:
            if cursor.seq >= 0:
                raise _exchanged(cursor)
            yield entry
            break
        if entry.record.seq == cursor.seq:
            if entry.sha256() != cursor.line_sha256:
                raise _exchanged(cursor)
            break
    else:
        if cursor.seq >= 0:
            raise _exchanged(cursor)
    yield from entries


def _exchanged(cursor: Cursor) -> HiveboxError:
    why = f"record {cursor.seq}, the last that was sent, is not in it any more"
    return HiveboxError(
        "the ledger is not the one that was exported", why, "hivebox audit verify; another --name begins anew"
    )


def _batches(entries: Iterator[history.Entry]) -> Iterator[list[history.Entry]]:
    while batch := list(itertools.islice(entries, _BATCH)):
        yield batch
