"""The script: read once, hashed, sealed; that copy is what runs."""

from __future__ import annotations

import fcntl
import os
import stat

from hivebox.digest import sha256
from hivebox.errors import HiveboxError, from_os_error
from hivebox.kernel import mount
from hivebox.steps.rootfs import open_target, write_file
from hivebox.steps.step import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SCRIPT_DIR = "/script"
_MAX_BYTES = 4 << 20
_HEAD_BYTES = 256
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


def interpreter_words(head: bytes) -> list[str]:
    """What a script's ``#!`` line names, less env(1) and its options; [] for none. ``head`` is how it begins."""
    if not head.startswith(b"#!"):
        return []
    words = os.fsdecode(head[2:].split(b"\n")[0]).split()
    if words and os.path.basename(words[0]) == "env":
        words = words[1:]
        while words and (words[0].startswith("-") or "=" in words[0]):
            words = words[1:]
    return words


def head_of(path: str, source_fd: int = -1) -> bytes:
    """How a script begins, b"" for one that cannot be read: ``Script`` says so."""
    try:
        handle = _open(path, source_fd)
        try:
            return os.pread(handle, _HEAD_BYTES, 0)
        finally:
            os.close(handle)
    except OSError:
        return b""


def _open(path: str, source_fd: int) -> int:
    again = f"/proc/self/fd/{source_fd}"  # an offset of our own
    return os.open(path if source_fd < 0 else again, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)


class Script(Step):
    """``dest`` is where the script appears. Inside a granted project it is mounted over the project's own copy, so
    that a change to that file after the hash was taken changes nothing."""

    name = "script"

    def __init__(self, path: str, dest: str, source_fd: int = -1) -> None:
        """``source_fd``, if any, is read in place of ``path``, from its start, and stays the caller's."""
        self.dest = dest
        self._memfd = -1
        try:
            handle = _open(path, source_fd)
        except OSError as error:
            code = 127 if isinstance(error, FileNotFoundError) else 126
            raise HiveboxError(
                f"cannot read the script {path}", from_os_error("", error).why, "check the path", exit_code=code
            ) from error
        try:
            self._seal(path, handle)
        finally:
            os.close(handle)

    def _seal(self, path: str, handle: int) -> None:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise HiveboxError(f"cannot run {path}", "it is not a regular file", "give a script", exit_code=126)
        self._memfd = os.memfd_create("script", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        digest = sha256()
        size = 0
        while chunk := os.read(handle, 1 << 20):
            if not size and chunk.startswith(b"\x7fELF"):
                raise _not_a_script(path)
            digest.update(chunk)
            size += len(chunk)
            if size > _MAX_BYTES:
                raise HiveboxError(f"cannot run {path}", "it is larger than 4 MiB", "grant it as data with --ro")
            os.write(self._memfd, chunk)
        fcntl.fcntl(self._memfd, fcntl.F_ADD_SEALS, _SEALS)
        self.sha256 = digest.hexdigest()
        self.size_bytes = size

    def describe(self) -> dict[str, Any]:
        return {"dest": self.dest, "sha256": self.sha256, "size_bytes": self.size_bytes}

    def head(self) -> bytes:
        """The first line's worth of bytes, for its ``#!``."""
        return os.pread(self._memfd, _HEAD_BYTES, 0)

    def child_fds(self) -> tuple[int, ...]:
        return (self._memfd,)

    def set_up(self) -> None:
        content = os.pread(self._memfd, self.size_bytes, 0)
        if self.dest.startswith(SCRIPT_DIR + "/"):
            os.mkdir(SCRIPT_DIR.lstrip("/"))
            write_file(self.dest.lstrip("/"), content, 0o555)
            return
        write_file("script", content, 0o555)
        source_fd = os.open("script", os.O_PATH | os.O_CLOEXEC)
        mount_fd = mount.open_tree(source_fd)
        target_fd = open_target(self.dest, is_dir=False)
        mount.mount_setattr(mount_fd, mount.MOUNT_ATTR_RDONLY | mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV)
        mount.move_mount(mount_fd, target_fd)
        os.unlink("script")
        for handle in (source_fd, mount_fd, target_fd):
            os.close(handle)

    def release(self) -> None:
        if self._memfd >= 0:
            os.close(self._memfd)
            self._memfd = -1


def _not_a_script(path: str) -> HiveboxError:
    """A program may need its libraries beside it, an interpreter its environment: neither is one sealed file."""
    is_python = os.path.basename(path).startswith("python")
    how = f"hivebox run --python {path} SCRIPT" if is_python else f"hivebox run --ro {path} -- {path}"
    return HiveboxError(f"cannot run {path}", "it is a program (ELF), not a script", how, exit_code=126)
