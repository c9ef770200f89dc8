"""Host paths that the policy grants: read-only, read-write, or as an overlay whose changes stay in the sandbox."""

from __future__ import annotations

import os

from hivebox.errors import HiveboxError
from hivebox.kernel import mount, mountinfo
from hivebox.kernel.mountinfo import Mounted, Place, existing_place, place
from hivebox.policy.grants import is_within, private_dirs
from hivebox.policy.model import Mount
from hivebox.steps.identity import Identity
from hivebox.steps.rootfs import bind, open_target
from hivebox.steps.source import READ_ONLY, READ_WRITE, Source
from hivebox.steps.step import Step
from hivebox.steps.workdir import Workdir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Private = tuple[tuple[str, tuple[Place, ...]], ...]  # a directory and every place that is in it

# Through any of these the kernel itself can be spoken to: /proc/PID/root of a host process is the host.
_KERNEL_FILESYSTEMS = frozenset(
    ("proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "bpf", "devpts", "configfs", "efivarfs")
)


def _refuse_by_mount(grant: Mount, source: Source, mounts: tuple[Mounted, ...], private: Private) -> None:
    """What no check of a name sees: file systems of the kernel and other names of hivebox's own files (bind mounts,
    disks mounted twice), at the path or mounted below it, as in a chroot or container directory."""
    holder = source.holder(mounts)
    if holder is None:
        raise HiveboxError(f"cannot grant {grant.source}", "it is on no mount of this namespace", "mount it here")
    below = tuple(mounted for mounted in mounts if is_within(mounted.point, grant.source) and mounted != holder)
    for mounted in (holder, *below):
        if mounted.kind in _KERNEL_FILESYSTEMS:
            why = f"{mounted.point} is a {mounted.kind} file system: a way to the kernel and the host's processes"
            raise HiveboxError(f"cannot grant {grant.source}", why, "grant a directory without it")
    places = (place(holder, grant.source), *(Place(mounted.device, mounted.root) for mounted in below))
    for directory, its_places in private:
        if _overlap(places, its_places):
            why = f"{directory}, where hivebox keeps its keys, records, rules or code, is there under another name"
            raise HiveboxError(f"cannot grant {grant.source}", why, "grant less: findmnt shows what is mounted where")


def _private(mode: str, mounts: tuple[Mounted, ...]) -> Private:
    return tuple((directory, _places(directory, mounts)) for directory in private_dirs(mode))


def _places(directory: str, mounts: tuple[Mounted, ...]) -> tuple[Place, ...]:
    """Of the directory and of what is mounted below it."""
    own = existing_place(mounts, directory)
    below = (Place(mounted.device, mounted.root) for mounted in mounts if is_within(mounted.point, directory))
    return (*((own,) if own else ()), *below)


def _overlap(some: tuple[Place, ...], others: tuple[Place, ...]) -> bool:
    return any(
        one.device == other.device and (is_within(one.path, other.path) or is_within(other.path, one.path))
        for one in some
        for other in others
    )


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
        mounts = mountinfo.read() if self._mounts else ()
        private = {mode: _private(mode, mounts) for mode in {grant.mode for grant in self._mounts}}
        for grant, source in zip(self._mounts, self._sources, strict=True):
            source.prepare()
            _refuse_by_mount(grant, source, mounts, private[grant.mode])
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
