"""Group commit: one fdatasync for all who wait for one.

Whoever gets the lock on ``audit/commit`` asks how long the ledger is, syncs it and notes that length in the file; those
who waited meanwhile find their record within it and return at once. No daemon: the leader is whoever comes first, and
if it is killed the kernel gives the lock to the next. The note is a hint for this boot, never read after another.

When the sync fails, nothing behind the noted length was acknowledged: it is cut off, and each writer that waited finds
its line gone and fails its run. (After an error the kernel counts the pages as clean, so a second try would claim a
success: https://lwn.net/Articles/752063/.)
"""

from __future__ import annotations

import fcntl
import os
import time

from hivebox.audit.journal import Journal, write_error
from hivebox.errors import HiveboxError

_PAUSE_S, _LONGEST_PAUSE_S = 0.0005, 0.004
_LONGEST_NOTE = 128


def commit(journal: Journal, start: int, lines: bytes, deadline_s: float) -> None:
    """Return when ``lines``, appended at offset ``start``, are on the disk. ``journal`` must be unlocked. Raises
    HiveboxError, and then nobody may rely on them: they are cut off, or (where a sync hangs, or cutting fails too)
    still there, true but not acknowledged."""
    synced = _lead_or_follow(journal, start + len(lines), deadline_s)
    if journal.read(start, start + len(lines)) != lines:
        why = f"{journal.path}: the disk failed while the record was being written"
        raise HiveboxError("cannot write the audit record", why, "see dmesg")
    if synced < start + len(lines):
        sync(journal, start, deadline_s)


def sync(journal: Journal, start: int, deadline_s: float) -> None:
    """Everything appended so far is on the disk, or (HiveboxError) what is not is cut off: all behind the noted length,
    behind ``start`` where none is noted. The caller has the lock on ``commit``."""
    size = journal.size()
    try:
        os.fdatasync(journal.fd)
    except OSError as error:
        _undo(journal, _noted(journal) or start, deadline_s)
        raise write_error(journal.path, error) from error
    _note(journal, size)


def _lead_or_follow(journal: Journal, end: int, deadline_s: float) -> int:
    """Wait for the lock, or until somebody else has synced up to ``end``: followers that take the lock one by one would
    be slower than the disk. How much is synced."""
    pause_s = _PAUSE_S
    while (synced := _noted(journal)) < end:
        try:
            fcntl.flock(journal.commit_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return _noted(journal)
        except BlockingIOError as error:
            if time.monotonic() >= deadline_s:
                why = f"{journal.path}: a sync takes too long"
                raise HiveboxError("cannot write the audit record", why, "look at the disk") from error
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
    return synced


def cut(journal: Journal, end: int) -> None:
    """Drop a torn end of the settled ``journal``, and what was noted about it."""
    os.ftruncate(journal.commit_fd, 0)
    journal.cut(end)


def _undo(journal: Journal, end: int, deadline_s: float) -> None:
    # If this fails too, the records stay in the file: not acknowledged, yet true.
    try:
        journal.relock(deadline_s)
        if end <= journal.size():
            journal.cut(end)
            os.fdatasync(journal.fd)
    except (OSError, HiveboxError):
        return


def _noted(journal: Journal) -> int:
    """How much of this very file is known to be on the disk; 0 when nothing is."""
    try:
        boot_id, ino, synced = os.pread(journal.commit_fd, _LONGEST_NOTE, 0).partition(b"\n")[0].decode().split()
        status = os.fstat(journal.fd)
        if boot_id == journal.boot_id and int(ino) == status.st_ino and int(synced) <= status.st_size:
            return int(synced)
    except ValueError:
        pass
    return 0


def _note(journal: Journal, size: int) -> None:
    try:
        note = f"{journal.boot_id or '-'} {os.fstat(journal.fd).st_ino} {size}\n"
        os.pwrite(journal.commit_fd, note.encode(), 0)
    except OSError:  # a full disk: the next one syncs for itself
        return
