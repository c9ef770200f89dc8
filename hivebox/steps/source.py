"""A path of the host that becomes visible in the sandbox, held as a descriptor from check to mount."""

from __future__ import annotations

import os
import stat

from hivebox.errors import HiveboxError, from_os_error
from hivebox.kernel import mount, mountinfo, process
from hivebox.kernel.mountinfo import Mounted
from hivebox.steps.identity import Identity

READ_ONLY = mount.MOUNT_ATTR_RDONLY | mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV
READ_WRITE = mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NODEV
DEVICE = mount.MOUNT_ATTR_NOSUID | mount.MOUNT_ATTR_NOEXEC
_EINVAL, _EPERM = 22, 1


def _idmap_userns(uid: int, gid: int, identity: Identity) -> int:
    """A user namespace that maps a file owner to the run's user. The caller closes the descriptor."""
    read_fd, write_fd = os.pipe()
    pid = process.clone(process.CLONE_NEWUSER)
    if pid == 0:
        os.close(write_fd)
        os.read(read_fd, 1)
        os._exit(0)
    try:
        for name, outside, inside in (("uid_map", uid, identity.host_uid), ("gid_map", gid, identity.host_gid)):
            handle = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
            os.write(handle, f"{outside} {inside} 1".encode())
            os.close(handle)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(read_fd)
        os.close(write_fd)
        os.waitpid(pid, 0)


class Source:
    """Opened without following any link in ``prepare``; mounted from that object and no other.

    Root mounts in the supervisor, where every path is readable, and maps the owner of the path to the run's user, so
    that a project below /root is readable (and, read-write, writable as its owner) without opening /root itself. An
    ordinary user may only mount inside the new namespace, where the path is opened again and must be the same inode.
    """

    def __init__(self, path: str, attributes: int, identity: Identity, *, map_owner: bool = True) -> None:
        self.path = path
        self._attributes = attributes
        self._identity = identity
        self._wants_map = map_owner
        self._path_fd = -1
        self._mount_fd = -1
        self.is_dir = True
        self.owner_mapped = False

    def prepare(self) -> None:
        """In the supervisor. Raises HiveboxError when the path is missing or has a symbolic link in it."""
        try:
            self._path_fd = mount.open_no_symlinks(self.path, os.O_PATH)
        except OSError as error:
            raise from_os_error(f"cannot use {self.path} in the sandbox", error, "give an existing path") from error
        status = os.fstat(self._path_fd)
        self.is_dir = stat.S_ISDIR(status.st_mode)
        if not (self.is_dir or stat.S_ISREG(status.st_mode) or stat.S_ISCHR(status.st_mode)):
            raise HiveboxError(f"cannot use {self.path} in the sandbox", "it is neither a directory nor a file")
        if self._identity.allocated:
            self._mount_fd = self._detach(self._path_fd)
            if self._wants_map:
                self._map_owner(status)

    def holder(self, mounts: tuple[Mounted, ...]) -> Mounted | None:
        """The mount that the path lies on, after ``prepare``."""
        return mountinfo.holder(mounts, self._path_fd)

    def _detach(self, path_fd: int) -> int:
        mount_fd = mount.open_tree(path_fd)
        mount.mount_setattr(mount_fd, self._attributes)
        return mount_fd

    def _map_owner(self, status: os.stat_result) -> None:
        userns_fd = _idmap_userns(status.st_uid, status.st_gid, self._identity)
        try:
            mount.mount_setattr(self._mount_fd, mount.MOUNT_ATTR_IDMAP, userns_fd=userns_fd)
            self.owner_mapped = True
        except OSError as error:
            if error.errno not in {_EINVAL, _EPERM}:  # a file system without idmapped mounts: fewer rights, not more
                raise
        finally:
            os.close(userns_fd)

    def child_fds(self) -> tuple[int, ...]:
        """What the child needs for ``mount_on``."""
        return tuple(handle for handle in (self._path_fd, self._mount_fd) if handle >= 0)

    def enter(self) -> None:
        """During the set-up, while the host's tree is in place: take the mount, unless root already did."""
        if self._mount_fd < 0:
            again_fd = mount.open_no_symlinks(self.path, os.O_PATH)
            if not os.path.samestat(os.fstat(again_fd), os.fstat(self._path_fd)):
                raise HiveboxError(f"cannot use {self.path} in the sandbox", "it was replaced while the run started")
            self._mount_fd = self._detach(again_fd)
            os.close(again_fd)

    def mount_on(self, target_fd: int) -> None:
        """Attach it on the object ``target_fd`` refers to."""
        mount.move_mount(self._mount_fd, target_fd)

    def release(self) -> None:
        """In the supervisor."""
        for handle in self.child_fds():
            os.close(handle)
        self._path_fd = self._mount_fd = -1
