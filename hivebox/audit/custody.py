"""Directories and files that only the caller may change: what the key and the ledger are kept in.

Each check names the attack. All of them look at an open descriptor, so there is no window between look and use.
"""

from __future__ import annotations

import os
import stat

from hivebox.errors import HiveboxError, from_os_error
from hivebox.kernel.write import write_all
from hivebox.locations import OTHERS_WRITE, make_private_dir, open_to_others, owned_by_another

OTHERS_ANY = 0o077
_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def open_private_dir(state_dir: str, name: str) -> int:
    """``<state_dir>/<name>``, created 0700 and durable if missing. The caller closes the descriptor."""
    path = os.path.join(state_dir, name)
    try:
        state_fd = _open_state(state_dir)
        try:
            check_private(state_fd, state_dir, OTHERS_WRITE)
            return _open_child(state_fd, name, path)
        finally:
            os.close(state_fd)
    except OSError as error:
        raise from_os_error(f"cannot use {path}", error, "set HIVEBOX_STATE to a directory of yours") from error


def _open_state(state_dir: str) -> int:
    try:
        return os.open(state_dir, _OPEN_DIR)
    except FileNotFoundError:
        make_private_dir(state_dir)
        _sync_dir(os.path.dirname(state_dir))
    return os.open(state_dir, _OPEN_DIR)


def _open_child(state_fd: int, name: str, path: str) -> int:
    # O_NOFOLLOW: another name for a directory elsewhere would put the ledger where its owner does not look.
    try:
        fd = os.open(name, _OPEN_DIR | os.O_NOFOLLOW, dir_fd=state_fd)
    except FileNotFoundError:
        _make_child(state_fd, name)
        fd = os.open(name, _OPEN_DIR | os.O_NOFOLLOW, dir_fd=state_fd)
    try:
        check_private(fd, path, OTHERS_WRITE)
    except HiveboxError:
        os.close(fd)
        raise
    return fd


def _make_child(state_fd: int, name: str) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=state_fd)
        os.fsync(state_fd)
    except FileExistsError:  # another first run was faster
        return


def check_private(fd: int, path: str, forbidden_mode: int) -> None:
    """Refuses what another user owns (they could swap or read it at any time) or may touch by ``forbidden_mode``.

    A granted POSIX ACL shows in the group bits (acl(5), the mask), so it is caught too.
    """
    status = os.fstat(fd)
    why = owned_by_another(status, (os.geteuid(),))
    if why:
        hint = "set HIVEBOX_STATE to a directory of yours"
        raise HiveboxError("refusing to use the audit state of another user", f"{path}: {why}", hint)
    why = open_to_others(status, forbidden_mode)
    if why:
        what = "refusing an audit file that others can touch"
        raise HiveboxError(what, f"{path}: {why}", f"chmod go-rwx {path}")


def check_regular(fd: int, path: str) -> None:
    """Refuses a FIFO or a device: a record written there is gone."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise HiveboxError("refusing an audit file that is not a regular file", path, "move it away")


def write_new(dir_fd: int, name: str, data: bytes, mode: int) -> None:
    """A new file, complete and on the disk before this returns. Raises FileExistsError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, mode, dir_fd=dir_fd)
        try:
            os.fchmod(fd, mode)  # whatever the umask
            write_all(fd, data)
            os.fsync(fd)
        except BaseException:
            os.unlink(name, dir_fd=dir_fd)
            raise
        finally:
            os.close(fd)
    except OSError as error:
        error.filename = path_in(dir_fd, name)
        raise


def path_in(dir_fd: int, name: str) -> str:
    """For messages: calls relative to a descriptor name the file alone."""
    return f"{os.readlink(f'/proc/self/fd/{dir_fd}')}/{name}"


def _sync_dir(path: str) -> None:
    fd = os.open(path, _OPEN_DIR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
