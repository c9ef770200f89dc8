"""What the root of a run is made of, each kind mounted in a user and mount namespace that ends with the probe."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

from hivebox.doctor import causes
from hivebox.doctor.attempt import attempt
from hivebox.doctor.finding import Cause, Verdict, degraded, missing, ok
from hivebox.errors import HiveboxError
from hivebox.kernel import mount, process
from hivebox.policy.model import Policy
from hivebox.rootfs.store import root_dir
from hivebox.steps.identity import UID_RANGE_START, Identity
from hivebox.steps.source import READ_ONLY, Source

_NAMESPACES = process.CLONE_NEWUSER | process.CLONE_NEWNS | process.CLONE_NEWPID
_NOT_THERE = {errno.ENOSYS, errno.ENODEV, errno.EINVAL, errno.EOPNOTSUPP}
_SAMPLE = "/usr"  # exists everywhere, and is not a symbolic link
_STAGING = "/tmp"  # noqa: S108  # as steps/rootfs.py
_TMPFS_FLAGS = mount.MS_NOSUID | mount.MS_NODEV


def tmpfs(policy: Policy) -> Verdict:  # noqa: ARG001
    return _try(_stage, "mount(tmpfs), size and inode caps", (3, 9))


def proc(policy: Policy) -> Verdict:  # noqa: ARG001
    try:
        attempt(_mount_proc, _NAMESPACES)
    except (OSError, HiveboxError) as error:
        return missing(causes.of(error, causes.private_proc))
    return ok("mount(proc), subset=pid,hidepid=ptraceable")


def overlay(policy: Policy) -> Verdict:  # noqa: ARG001
    """Only a run with an overlay grant needs it."""
    verdict = _try(_mount_overlay, "mount(overlay), userxattr", (5, 11))
    return verdict if verdict.status == "ok" else degraded("no --overlay", Cause(verdict.why, verdict.fix))


def openat2(policy: Policy) -> Verdict:  # noqa: ARG001
    try:
        attempt(_open_without_links)
    except (OSError, HiveboxError) as error:
        return missing(causes.of(error, lambda os_error: causes.old_kernel(os_error, (5, 6))))
    return ok("openat2(2), RESOLVE_NO_SYMLINKS and RESOLVE_IN_ROOT")


def descriptors(policy: Policy) -> Verdict:  # noqa: ARG001
    return _try(_bind_read_only, "open_tree(2), mount_setattr(2), move_mount(2)", (5, 12))


def idmapped(policy: Policy) -> Verdict:  # noqa: ARG001
    """Only runs that root starts map the owners of files; without, a path must be readable by others."""
    if os.geteuid() != 0:
        return ok("not needed: only runs started by root map owners")
    try:
        mapped = attempt(_map_owner, process.CLONE_NEWNS)
    except (OSError, HiveboxError) as error:
        return missing(causes.of(error, lambda os_error: causes.old_kernel(os_error, (5, 12))))
    if mapped:
        return ok("mount_setattr(2), MOUNT_ATTR_IDMAP")
    why = f"{_existing_state()}: its file system has no idmapped mounts, so a run reads only what everybody may read"
    return degraded("owners as they are", Cause(why, "keep projects and $HIVEBOX_STATE on ext4, xfs or btrfs"))


def _try(action: Callable[[], Any], mechanism: str, since: tuple[int, int]) -> Verdict:
    def explain(error: OSError) -> Cause:
        known = error.errno in _NOT_THERE
        return causes.old_kernel(error, since) if known else causes.in_user_namespace(error)

    try:
        attempt(action, _NAMESPACES)
    except (OSError, HiveboxError) as error:
        return missing(causes.of(error, explain))
    return ok(mechanism)


def _stage() -> None:
    """A tmpfs of our own to work on, as steps/rootfs.py makes it."""
    mount.mount("", "/", "", mount.MS_REC | mount.MS_PRIVATE)
    mount.mount("tmpfs", _STAGING, "tmpfs", _TMPFS_FLAGS, "mode=0755,size=1048576,nr_inodes=64")
    os.chdir(_STAGING)


def _mount_proc() -> None:
    _stage()
    os.mkdir("proc")
    mount.mount("proc", "proc", "proc", _TMPFS_FLAGS | mount.MS_NOEXEC, "subset=pid,hidepid=ptraceable")
    _expect(os.readlink("proc/self") == "1", "the new /proc does not show the new PID namespace")


def _mount_overlay() -> None:
    _stage()
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(name)
    layers = "lowerdir=lower,upperdir=upper,workdir=work,userxattr"
    mount.mount("overlay", "merged", "overlay", _TMPFS_FLAGS, layers)
    os.mkdir("merged/new")
    _expect(os.path.isdir("upper/new"), "a change did not go to the upper layer")


def _open_without_links() -> None:
    root_fd = mount.open_no_symlinks("/", os.O_PATH | os.O_DIRECTORY)
    os.close(mount.open_in_root(root_fd, _SAMPLE, os.O_PATH))
    try:
        mount.open_no_symlinks("/proc/self", os.O_PATH)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return
    _expect(False, "a symbolic link was followed")


def _bind_read_only() -> None:
    _stage()
    os.mkdir("bound")
    path_fd = os.open(_SAMPLE, os.O_PATH | os.O_DIRECTORY)
    tree_fd = mount.open_tree(path_fd)
    mount.mount_setattr(tree_fd, READ_ONLY)
    mount.move_mount(tree_fd, os.open("bound", os.O_PATH | os.O_DIRECTORY))
    _expect(bool(os.statvfs("bound").f_flag & os.ST_RDONLY), "the bound directory is writable")


def _map_owner() -> bool:
    identity = Identity("")
    identity.host_uid = identity.host_gid = UID_RANGE_START
    source = Source(_existing_state(), READ_ONLY, identity)
    source.prepare()
    return source.owner_mapped


def _existing_state() -> str:
    """Where the root trees are, or will be."""
    path = root_dir()
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return os.path.realpath(path)


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise HiveboxError("a mount does not do what it should", otherwise, "report this")
