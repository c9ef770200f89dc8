"""Host paths that the policy grants: read-only, read-write, or as an overlay whose changes stay in the sandbox."""

from __future__ import annotations

import os

from hivebox.errors import HiveboxError
from hivebox.kernel import mount
from hivebox.kernel.cgroup import read_all
from hivebox.policy.grants import is_within
from hivebox.policy.model import Mount
from hivebox.steps.identity import Identity
from hivebox.steps.rootfs import bind, open_target
from hivebox.steps.source import READ_ONLY, READ_WRITE, Source
from hivebox.steps.step import Step
from hivebox.steps.workdir import Workdir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Through any of these the kernel itself can be spoken to: /proc/PID/root of a host process is the host.
_KERNEL_FILESYSTEMS = frozenset(
    ("proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "bpf", "devpts", "configfs", "efivarfs")
)


def _refuse_kernel_filesystems(path: str) -> None:
    """A chroot or container directory may have them mounted below, where no check of its name would look."""
    holder = ("", "")
    for line in read_all("/proc/self/mountinfo").splitlines():
        fields, _, rest = line.partition(" - ")
        point = fields.split()[4].encode().decode("unicode_escape")
        kind = rest.split()[0]
        if is_within(path, point) and len(point) >= len(holder[0]):
            holder = (point, kind)
        elif kind in _KERNEL_FILESYSTEMS and is_within(point, path):
            raise _kernel_filesystem(path, point, kind)
    if holder[1] in _KERNEL_FILESYSTEMS:
        raise _kernel_filesystem(path, *holder)


def _kernel_filesystem(path: str, point: str, kind: str) -> HiveboxError:
    why = f"{point} is a {kind} file system: a way to the kernel and the host's processes"
    return HiveboxError(f"cannot grant {path}", why, "grant a directory without it")


class Grants(Step):
    """In the order of their destinations, so that /data is mounted before /data/cache."""

    name = "grants"

    def __init__(self, mounts: tuple[Mount, ...], workdir: Workdir, identity: Identity) -> None:
        self._mounts = tuple(sorted(mounts, key=lambda grant: grant.dest.split("/")))
        self._workdir = workdir
        self._sources = tuple(
            Source(grant.source, READ_WRITE if grant.mode == "read_write" else READ_ONLY, identity)
            for grant in self._mounts
        )

    def describe(self) -> dict[str, Any]:
        return {"mounts": [grant._asdict() for grant in self._mounts]}

    def prepare(self) -> None:
        for grant, source in zip(self._mounts, self._sources, strict=True):
            source.prepare()
            _refuse_kernel_filesystems(grant.source)
            if grant.mode == "overlay" and not source.is_dir:
                raise HiveboxError(f"cannot overlay {grant.source}", "it is not a directory", "use --ro or --rw")

    def child_fds(self) -> tuple[int, ...]:
        return tuple(handle for source in self._sources for handle in source.child_fds())

    def enter(self) -> None:
        for source in self._sources:
            source.enter()

    def set_up(self) -> None:
        for number, (grant, source) in enumerate(zip(self._mounts, self._sources, strict=True)):
            if grant.mode == "overlay":
                self._overlay(str(number), grant.dest, source)
            else:
                bind(source, grant.dest)

    def _overlay(self, name: str, dest: str, source: Source) -> None:
        """Assembled in the hidden part of the work tmpfs by relative names, then moved to its destination."""
        target_fd = open_target(dest, is_dir=True)
        root_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fchdir(self._workdir.overlay_fd)
        for part in ("lower", "upper", "work", "merged"):
            os.makedirs(f"{name}/{part}")
        lower_fd = os.open(f"{name}/lower", os.O_PATH | os.O_CLOEXEC)
        source.mount_on(lower_fd)
        layers = f"lowerdir={name}/lower,upperdir={name}/upper,workdir={name}/work,userxattr"
        mount.mount("overlay", f"{name}/merged", "overlay", mount.MS_NOSUID | mount.MS_NODEV, layers)
        merged_fd = os.open(f"{name}/merged", os.O_PATH | os.O_CLOEXEC)
        mount.move_mount(mount.open_tree(merged_fd), target_fd)
        mount.umount2(f"{name}/merged", mount.MNT_DETACH)
        mount.umount2(f"{name}/lower", mount.MNT_DETACH)
        os.fchdir(root_fd)
        for handle in (root_fd, target_fd, lower_fd, merged_fd):
            os.close(handle)

    def release(self) -> None:
        for source in self._sources:
            source.release()
