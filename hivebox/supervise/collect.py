"""--out: what the script left in its work directory, taken out when everything that could change it is dead.

The tree is hostile: links, FIFOs, sockets, sparse files of exabytes, a million names, depth. Only regular files and
directories are taken, opened beneath the work directory without following anything; sizes are what was read, not what
stat says.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections.abc import Collection

from hivebox.errors import HiveboxError, from_os_error
from hivebox.kernel.mount import open_beneath, open_no_symlinks
from hivebox.kernel.write import write_all
from hivebox.policy.model import Outputs
from hivebox.report import NOT_REGULAR, Output

_MAX_DEPTH = 32
_CHUNK = 1 << 20
_MAX_SKIPPED = 100
_MAX_NAMES_BYTES = 1 << 20  # of all paths together: they go into one record


def open_directory(path: str) -> int:
    """The directory to collect into, made if missing. Before the run, so that a bad one costs nothing. No link is
    followed: an earlier script may have left it in a directory that was granted read-write."""
    hint = "give a directory you may write"
    try:
        handle = _make_directory(os.path.normpath(path))
    except OSError as error:
        hint = "`realpath` shows where the link leads" if error.errno == errno.ELOOP else hint
        raise from_os_error(f"cannot collect into {path}", error, hint) from error
    if not os.access(f"/proc/self/fd/{handle}", os.W_OK | os.X_OK):
        os.close(handle)
        raise HiveboxError(f"cannot collect into {path}", "it is not writable for you, or on a read-only mount", hint)
    return handle


def _make_directory(path: str) -> int:
    try:
        return open_no_symlinks(path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        parent_fd = _make_directory(os.path.dirname(path) or ".")
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.basename(path), dir_fd=parent_fd)
    finally:
        os.close(parent_fd)
    return open_no_symlinks(path, os.O_RDONLY | os.O_DIRECTORY)


def _unwritable(path: str, error: OSError) -> HiveboxError:
    return from_os_error(f"cannot write the output {path}", error, "mend the output directory and run again")


class Collector:
    """Copies into the directory ``out_fd``, which stays the caller's. Nothing is overwritten. ``mount_points`` are
    paths in the work directory where a grant was: empty files of ours, no outputs."""

    def __init__(self, work_fd: int, out_fd: int, bounds: Outputs, mount_points: Collection[str] = ()) -> None:
        self._work_fd = work_fd
        self._out_fd = out_fd
        self._bounds = bounds
        self._mount_points = mount_points
        self._remaining = bounds.max_size_bytes
        self._deadline = time.monotonic() + bounds.max_time_s
        self._names_bytes = 0
        self._taken: list[Output] = []
        self._skipped: list[Output] = []

    def collect(self) -> tuple[Output, ...]:
        """Every file that was copied, then those left out (at most 100 of them), each with the reason."""
        self._directory("", 0)
        return (*self._taken, *self._skipped)

    def _skip(self, path: str, reason: str, size_bytes: int = 0) -> None:
        if len(self._skipped) < _MAX_SKIPPED:
            self._skipped.append(Output(path, size_bytes, "", reason))

    def _directory(self, path: str, depth: int) -> None:
        if depth > _MAX_DEPTH:
            self._skip(path, f"deeper than {_MAX_DEPTH} directories")
            return
        try:
            handle = open_beneath(self._work_fd, path or ".", os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            self._skip(path, error.strerror or "cannot be opened")
            return
        try:
            with os.scandir(handle) as entries:
                for entry in entries:
                    if self._exhausted(path):
                        return
                    found = f"{path}/{entry.name}" if path else entry.name
                    if found not in self._mount_points:
                        self._entry(found, entry, depth)
        except OSError as error:
            self._skip(path, error.strerror or "cannot be listed")
        finally:
            os.close(handle)

    def _exhausted(self, path: str) -> bool:
        if len(self._taken) >= self._bounds.max_files:
            self._skip(path, f"more than {self._bounds.max_files} files")
            return True
        if self._names_bytes > _MAX_NAMES_BYTES:
            self._skip(path, "the names of the files are too long")
            return True
        if time.monotonic() > self._deadline:
            self._skip(path, f"collecting took longer than {self._bounds.max_time_s:g} s")
            return True
        return False

    def _entry(self, path: str, entry: os.DirEntry[str], depth: int) -> None:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:  # a directory without search permission
            self._skip(path, error.strerror or "cannot be looked at")
            return
        if stat.S_ISDIR(status.st_mode):
            self._directory(path, depth + 1)
        elif not stat.S_ISREG(status.st_mode):
            self._skip(path, NOT_REGULAR)
        elif status.st_nlink > 1:
            self._skip(path, "has more than one name (hard link)", status.st_size)
        elif status.st_size > self._remaining:
            self._skip(path, "exceeds what is left of the size bound", status.st_size)
        else:
            self._file(path)

    def _file(self, path: str) -> None:
        try:
            source_fd = open_beneath(self._work_fd, path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            self._skip(path, error.strerror or "cannot be opened")
            return
        try:
            self._copy(path, source_fd)
        finally:
            os.close(source_fd)

    def _copy(self, path: str, source_fd: int) -> None:
        parent, _, name = path.rpartition("/")
        try:
            parent_fd = self._make_parents(parent)
        except NotADirectoryError:
            self._skip(path, "a file or link of the output directory is in its way")
            return
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            target_fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent_fd)
        except FileExistsError:
            self._skip(path, "exists in the output directory already")
            return
        except OSError as error:
            raise _unwritable(path, error) from error
        else:
            try:
                size, digest = self._fill(path, source_fd, target_fd)
            except BaseException:
                os.unlink(name, dir_fd=parent_fd)  # half a file would pass for a result, and be in the next try's way
                raise
            finally:
                os.close(target_fd)
        finally:
            os.close(parent_fd)
        self._names_bytes += len(os.fsencode(path))
        self._taken.append(Output(path, size, digest))

    def _fill(self, path: str, source_fd: int, target_fd: int) -> tuple[int, str]:
        """Size in bytes and SHA-256 of what was written."""
        digest = hashlib.sha256()
        size = 0
        try:
            while chunk := os.read(source_fd, min(_CHUNK, self._remaining + 1)):
                size += len(chunk)
                self._remaining -= len(chunk)
                if self._remaining < 0:
                    raise HiveboxError("cannot collect outputs", f"{path} grew while it was read", "report this")
                digest.update(chunk)
                write_all(target_fd, chunk)
        except OSError as error:
            raise _unwritable(path, error) from error
        return size, digest.hexdigest()

    def _make_parents(self, parent: str) -> int:
        current_fd = os.dup(self._out_fd)
        for part in parent.split("/") if parent else ():
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=current_fd)
            try:
                next_fd = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current_fd)
            finally:
                os.close(current_fd)
            current_fd = next_fd
        return current_fd
