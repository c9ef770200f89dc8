"""The ledger as a file: one appender at a time, every line whole or gone, on the disk before anyone is told.

Two locks. Whoever holds the one on ``ledger.jsonl`` (``with_journal``) appends; ``Journal.write`` leaves its lines in
the page cache. Whoever holds the one on ``commit`` (audit/commit.py) makes everything appended so far durable, for all
who wait: many runs share one fdatasync. Only then is anybody told. Who needs both takes ``commit`` first.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

from hivebox.audit import settings, statement
from hivebox.audit.custody import check_private, check_regular, open_private_dir, write_new
from hivebox.audit.envelope import MAX_LINE_BYTES
from hivebox.digest import sha256
from hivebox.errors import HiveboxError, errno_text, from_os_error
from hivebox.frozen import Frozen
from hivebox.kernel.write import write_all
from hivebox.locations import OTHERS_WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

NAME = "ledger.jsonl"
COMMIT = "commit"
LOCK_TIMEOUT_S = 60.0  # two hundred runs that end at once, on a disk that takes 50 ms for an fsync
_PAUSE_S, _LONGEST_PAUSE_S = 0.0003, 0.004  # many who look often would slow down the one they wait for


class Journal(Frozen):
    """An open, locked ledger file. ``with_journal`` closes the descriptors; ``commit_fd`` is that of ``commit``, whose
    locks and content are for audit/commit.py. ``boot_id`` and ``settings`` are those of when it was opened."""

    fd: int
    dir_fd: int
    commit_fd: int
    path: str
    boot_id: str
    settings: settings.Settings

    def size(self) -> int:
        """Bytes."""
        return os.fstat(self.fd).st_size

    def read(self, start: int, end: int) -> bytes:
        """Bytes from offset ``start`` to ``end``."""
        return os.pread(self.fd, end - start, start)

    def write(self, lines: list[bytes]) -> None:
        """Append lines, given without their newlines, in one write. Not durable yet. When it raises (HiveboxError), the
        file is as it was before."""
        check_size(max(map(len, lines)))
        before = self.size()
        try:
            if not before:
                os.fsync(self.dir_fd)  # the first record is durable only with the ledger's name
            write_all(self.fd, b"\n".join(lines) + b"\n")
        except BaseException as error:
            try:  # noqa: SIM105
                self.cut(before)
            except OSError:  # the next appender finds the line torn
                pass
            if isinstance(error, OSError):
                raise write_error(self.path, error) from error
            raise

    def keep_torn(self, torn: bytes) -> str:
        """Copy torn bytes beside the ledger, durably; returns their SHA-256 in hex."""
        digest = sha256(torn).hexdigest()
        try:  # noqa: SIM105  # contextlib is not on the run path
            write_new(self.dir_fd, f"torn-{digest}", torn, 0o600)
        except FileExistsError:
            pass
        os.fsync(self.dir_fd)
        return digest

    def cut(self, end: int) -> None:
        """Drop everything behind offset ``end``."""
        try:
            os.ftruncate(self.fd, end)
        except PermissionError:
            self.protect(on=False)
            os.ftruncate(self.fd, end)
            self.protect(on=True)

    def protect(self, *, on: bool) -> str:
        """chattr +a or -a. "" when it was done, else why it could not be."""
        from hivebox.kernel import inode_flags  # noqa: PLC0415  # only for who wants it

        try:
            inode_flags.set_append_only(self.fd, on=on)
        except OSError as error:
            return errno_text(error.errno or 0)
        return ""

    def unlock(self) -> None:
        """Let the next appender in, before the descriptor is closed."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def relock(self, deadline_s: float) -> None:
        """Exclude appenders again."""
        lock(self.fd, fcntl.LOCK_EX, self.path, deadline_s)

    def is_current(self) -> bool:
        """False when the ledger was rotated, moved or removed since it was opened."""
        return _is_named(self.dir_fd, self.fd)


def lock(fd: int, operation: int, path: str, deadline_s: float) -> None:
    """flock(2) with an end: ``operation`` is LOCK_EX or LOCK_SH, ``deadline_s`` on the monotonic clock."""
    pause_s = _PAUSE_S
    while True:
        try:
            return fcntl.flock(fd, operation | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline_s:
                why = f"{path}: another process has held its lock for too long"
                raise HiveboxError("cannot lock the audit ledger", why, f"see who: fuser -v {path}") from error
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)


def with_journal(
    state_dir: str, deadline_s: float, act: Callable[[Journal], T], *, settled: bool = False, boot_id: str | None = None
) -> T:
    """What ``act`` returns, given the ledger of ``state_dir``: made if missing, locked against every other appender
    until ``unlock`` or the end of ``act``. ``settled``: with nobody syncing it either. Raises HiveboxError."""
    dir_fd = open_private_dir(state_dir, "audit")
    path = os.path.join(state_dir, "audit", NAME)
    commit_fd = fd = -1
    try:
        chosen = settings.load(dir_fd)
        boot_id = statement.boot_id() if boot_id is None else boot_id
        commit_fd = _open(dir_fd, COMMIT, path)
        check_regular(commit_fd, os.path.join(state_dir, "audit", COMMIT))
        if settled:
            lock(commit_fd, fcntl.LOCK_EX, path, deadline_s)
        fd = _open_locked(dir_fd, path, deadline_s)
        return act(Journal(fd, dir_fd, commit_fd, path, boot_id, chosen))
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        for each in (fd, commit_fd, dir_fd):  # unlocks
            if each >= 0:
                os.close(each)


def check_size(line_bytes: int) -> None:
    """Raises HiveboxError for a line, without its newline, that no ledger takes."""
    if line_bytes >= MAX_LINE_BYTES:
        why = f"a record of {line_bytes} bytes; the ledger takes {MAX_LINE_BYTES - 1}"
        raise HiveboxError("cannot write the audit record", why, "collect fewer outputs")


def write_error(path: str, error: OSError) -> HiveboxError:
    """What a failed write or sync of the ledger is for the run."""
    error.filename = path
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    hint = "make room, or set HIVEBOX_STATE to a directory on another disk" if full else ""
    return from_os_error("cannot write the audit record", error, hint)


def _open_locked(dir_fd: int, path: str, deadline_s: float) -> int:
    while True:
        fd = _open(dir_fd, NAME, path)
        try:
            check_regular(fd, path)
            check_private(fd, path, OTHERS_WRITE)
            lock(fd, fcntl.LOCK_EX, path, deadline_s)
            # Moved away or removed while we waited: a record written to it would be lost without a word.
            if _is_named(dir_fd, fd):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        if time.monotonic() >= deadline_s:
            raise HiveboxError("cannot lock the audit ledger", f"{path}: replaced again and again by another process")


def _open(dir_fd: int, name: str, path: str) -> int:
    # Linux appends whatever the offset of pwrite(2) when O_APPEND is set, and ``commit`` is written in place.
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_APPEND if name == NAME else 0)
    try:
        return os.open(name, flags, dir_fd=dir_fd)
    except FileNotFoundError:
        return os.open(name, flags | os.O_CREAT, 0o600, dir_fd=dir_fd)
    except OSError as error:
        error.filename = path
        if error.errno != errno.ELOOP:
            raise
        # A link planted by whoever could write here once would send records to a file of their choice.
        raise HiveboxError(
            "refusing an audit ledger that is a symbolic link", path, "put the file itself there"
        ) from error


def _is_named(dir_fd: int, fd: int) -> bool:
    try:
        named = os.stat(NAME, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    ours = os.fstat(fd)
    return (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)
