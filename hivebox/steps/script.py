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
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class Script(Step):
    """``dest`` is where the script appears. Inside a granted project it is mounted over the project's own copy, so
    that a change to that file after the hash was taken changes nothing."""

    name = "script"

    def __init__(self, path: str, dest: str, source_fd: int = -1) -> None:
        """``source_fd``, if any, is read in place of ``path``, from its start, and stays the caller's."""
        self.dest = dest
        self._memfd = -1
        try:
            again = f"/proc/self/fd/{source_fd}"  # an offset of our own
            handle = os.open(path if source_fd < 0 else again, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
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
        return os.pread(self._memfd, 256, 0)

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
