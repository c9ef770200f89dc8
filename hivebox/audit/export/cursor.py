"""How far an export got: ``audit/export/<name>.json`` with the number and digest of the last record that was taken."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from hivebox.audit.custody import open_private_dir, path_in, write_new
from hivebox.audit.statement import is_sha256
from hivebox.errors import HiveboxError

_LONGEST_CURSOR = 4096
_LARGEST_SEQ = 1 << 53
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def name_for(target: str) -> str:
    """The cursor of a target that nobody gave a name: one for each, so that a second collector gets every record."""
    scheme, _, path = target.partition(":")
    if scheme in ("file", "unix"):
        target = f"{scheme}:{os.path.abspath(path)}"
    return f"{'stdout' if scheme == '-' else scheme}-{hashlib.sha256(os.fsencode(target)).hexdigest()[:16]}"


class NotKeptError(OSError):
    """How far the export got could not be written down; the next one sends the same again."""


class Cursor:
    """Of one locked export. ``seq`` is -1 before the first record."""

    def __init__(self, dir_fd: int, name: str) -> None:
        self._dir_fd, self._file = dir_fd, f"{name}.json"
        self.seq, self.line_sha256 = self._read()

    def _read(self) -> tuple[int, str]:
        try:
            fd = os.open(self._file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._dir_fd)
        except FileNotFoundError:
            return -1, ""
        except OSError as error:
            raise self._unreadable(error) from error
        try:
            said = json.loads(os.read(fd, _LONGEST_CURSOR))
            seq, line_sha256 = said["seq"], said["line_sha256"]
            if type(seq) is not int or not 0 <= seq <= _LARGEST_SEQ or not is_sha256(line_sha256):
                raise ValueError("expected the number of a record and the SHA-256 of its line")
            return seq, line_sha256
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._unreadable(error) from error
        finally:
            os.close(fd)

    def _unreadable(self, error: Exception) -> HiveboxError:
        why = f"audit/export/{self._file}: {error!r}"
        return HiveboxError("cannot read the export's cursor", why, "remove it to export everything again")

    def move(self, seq: int, line_sha256: str) -> None:
        """Durable when it returns."""
        temporary = f".{self._file}-{os.urandom(8).hex()}"
        data = json.dumps({"line_sha256": line_sha256, "seq": seq}).encode() + b"\n"
        try:
            write_new(self._dir_fd, temporary, data, 0o600)
        except OSError as error:
            raise NotKeptError(error.errno, error.strerror, error.filename) from error
        os.rename(temporary, self._file, src_dir_fd=self._dir_fd, dst_dir_fd=self._dir_fd)
        os.fsync(self._dir_fd)
        self.seq, self.line_sha256 = seq, line_sha256


@contextmanager
def locked(state_dir: str, name: str) -> Iterator[Cursor]:
    """One process exports under a name at a time. Raises HiveboxError."""
    if not _NAME.fullmatch(name):
        raise HiveboxError(f"bad name of an export: {name!r}", "expected letters, digits, - _ .", "--name siem")
    os.close(open_private_dir(state_dir, "audit"))
    dir_fd = open_private_dir(os.path.join(state_dir, "audit"), "export")
    lock_fd = -1
    try:
        lock_fd = _open_lock(dir_fd, f"{name}.lock")
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HiveboxError(
                f"the export {name} is running already", "another process has it", "give another --name"
            ) from error
        yield Cursor(dir_fd, name)
    finally:
        if lock_fd >= 0:
            os.close(lock_fd)
        os.close(dir_fd)


def _open_lock(dir_fd: int, name: str) -> int:
    try:
        return os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=dir_fd)
    except OSError as error:
        raise NotKeptError(error.errno, error.strerror, path_in(dir_fd, name)) from error
