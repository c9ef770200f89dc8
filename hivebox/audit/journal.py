"""The ledger as a file: one writer at a time, every line whole or gone, on the disk before anyone is told.

``with_journal`` holds the lock. One write and one fdatasync per line, so that after a
crash at most the last line is in doubt; whoever writes several lines in one go must think about recovery again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

from hivebox.audit.custody import OTHERS_WRITE, check_private, check_regular, open_private_dir, write_all, write_new
from hivebox.audit.envelope import MAX_LINE_BYTES
from hivebox.digest import sha256
from hivebox.errors import HiveboxError, from_os_error
from hivebox.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

NAME = "ledger.jsonl"
LOCK_TIMEOUT_S = 60.0  # two hundred runs that end at once, on a disk that takes 50 ms for an fsync
_BLOCK_BYTES = 16 << 10
_PAUSE_S, _LONGEST_PAUSE_S = 0.001, 0.02


class Tail(Frozen):
    """``line`` is the last record's, without its newline; ``seq`` is -1 when there is none. It and all before it end
    at offset ``end``; ``torn`` is what follows."""

    seq: int
    line: bytes
    end: int
    torn: bytes


class Journal(Frozen):
    """An open, locked ledger file. ``fd`` and ``dir_fd`` are closed by ``with_journal``."""

    fd: int
    dir_fd: int
    path: str

    def tail(self, seq_of: Callable[[bytes], int]) -> Tail:
        """Reads back from the end only as far as needed. ``seq_of`` gives a record's number, -1 for what is none.

        Raises HiveboxError if there is no record to build on.
        """
        size = os.fstat(self.fd).st_size
        line, start, end = self._line_before(size)
        if end == size and (seq := seq_of(line)) >= 0:
            return Tail(seq, line, end, b"")
        # Not whole, or whole and garbage: a power loss may leave the last blocks of a write on the disk and zeros
        # before them. Only the last line was ever in doubt, so the one before it has to be good.
        if end == size:
            torn = os.pread(self.fd, size - start, start)
            line, _, end = self._line_before(start)
        else:
            torn = os.pread(self.fd, size - end, end)
        if (seq := seq_of(line)) < 0 < end:
            raise self._damaged("the last two lines are not records")
        return Tail(seq, line, end, torn)

    def append(self, line: bytes) -> None:
        """Durable when it returns; when it raises, the file is as it was before. Raises HiveboxError."""
        if len(line) >= MAX_LINE_BYTES:
            why = f"a record of {len(line)} bytes; the ledger takes {MAX_LINE_BYTES - 1}"
            raise HiveboxError("cannot write the audit record", why, "collect fewer outputs")
        before = os.fstat(self.fd).st_size
        try:
            write_all(self.fd, line + b"\n")
            os.fdatasync(self.fd)
            if not before:
                os.fsync(self.dir_fd)  # the first record is durable only with the ledger's name
        except BaseException as error:
            self._undo(before)
            if isinstance(error, OSError):
                error.filename = self.path
                raise from_os_error("cannot write the audit record", error, _hint(error)) from error
            raise

    def drop_torn(self, tail: Tail) -> str:
        """Cuts the torn end off and keeps its bytes beside the ledger; returns their SHA-256 in hex."""
        digest = sha256(tail.torn).hexdigest()
        try:  # noqa: SIM105  # contextlib is not on the run path
            write_new(self.dir_fd, f"torn-{digest}", tail.torn, 0o600)
        except FileExistsError:
            pass
        os.fsync(self.dir_fd)
        os.ftruncate(self.fd, tail.end)
        return digest

    def _undo(self, size: int) -> None:
        # If this fails too (EIO), the torn line is found and dropped by the next append.
        try:
            os.ftruncate(self.fd, size)
            os.fdatasync(self.fd)
        except OSError:
            return

    def _line_before(self, end: int) -> tuple[bytes, int, int]:
        """The last line that ends in a newline before offset ``end``: (line, its start, offset behind its newline)."""
        data, start = b"", end
        while True:
            last = data.rfind(b"\n")
            first = data.rfind(b"\n", 0, max(last, 0))
            if last >= 0 and (first >= 0 or start == 0):
                return data[first + 1 : last], start + first + 1, start + last + 1
            if start == 0:
                return b"", 0, 0
            if len(data) > 2 * MAX_LINE_BYTES:
                raise self._damaged(f"no line end in its last {len(data)} bytes")
            block = min(start, max(_BLOCK_BYTES, len(data)))
            start -= block
            data = os.pread(self.fd, block, start) + data

    def _damaged(self, why: str) -> HiveboxError:
        hint = "look with hivebox audit verify; then move the file away, and a new ledger begins"
        return HiveboxError("cannot add to the audit ledger", f"{self.path}: {why}", hint)


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
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def with_journal(state_dir: str, lock_timeout_s: float, act: Callable[[Journal], T]) -> T:
    """What ``act`` returns, given the ledger of ``state_dir``: made if missing, locked against every other writer."""
    dir_fd = open_private_dir(state_dir, "audit")
    path = os.path.join(state_dir, "audit", NAME)
    try:
        fd = _open_locked(dir_fd, path, lock_timeout_s)
        try:
            return act(Journal(fd, dir_fd, path))
        finally:
            os.close(fd)  # unlocks
    except OSError as error:
        error.filename = path
        raise from_os_error("cannot write the audit record", error, _hint(error)) from error
    finally:
        os.close(dir_fd)


def _open_locked(dir_fd: int, path: str, lock_timeout_s: float) -> int:
    deadline_s = time.monotonic() + lock_timeout_s
    while True:
        fd = _open(dir_fd, path)
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


def _open(dir_fd: int, path: str) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(NAME, flags, dir_fd=dir_fd)
    except FileNotFoundError:
        return os.open(NAME, flags | os.O_CREAT, 0o600, dir_fd=dir_fd)
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


def _hint(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "make room, or set HIVEBOX_STATE to a directory on another disk"
    return ""
