"""Finding the group below which a run's group may be made, in the v2 hierarchy.

From our own group upwards: the nearest one that is ours to divide. Three things can be in the way.

A group with processes cannot give controllers to its children ("no internal processes"), but for the hierarchy's root.
Where we are the only process of our own group, we make a leaf beside the run's group and move there, and nobody else.

Where systemd runs, every group has one owner: a unit without ``Delegate=`` belongs to systemd, which may at any time
take away the controllers that a limit rests on. It marks the units that it leaves alone with an extended attribute.
``user@UID.service`` is marked too, but what is below it belongs to the user's own systemd.

Moving a process takes write access to the nearest group above both its old and its new one (cgroups(7)), so a group
that somebody delegated elsewhere in the tree is of no use to an ordinary user outside it.
"""

from __future__ import annotations

import errno
import os

from hivebox.errors import HiveboxError, errno_text
from hivebox.kernel import mountinfo
from hivebox.kernel.cgroup import GroupLimits, group_name, read, remove, write
from hivebox.kernel.cgroup.v2 import CgroupV2, enable

_USUAL_MOUNTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
_SYSTEMD = "/run/systemd/system"  # sd_booted(3)
_DELEGATED = ("user.delegate", "trusted.delegate")  # cgroup-util.c of systemd; the first since 251
_HINT = "run `hivebox doctor`: it names what to do on this host"


class Delegated(CgroupV2):
    """A group below one that is ours to divide."""

    def __init__(self, name: str, limits: GroupLimits, own: str) -> None:
        super().__init__()
        self._parent = find_parent(limits, own)
        path = f"{self._parent}/{name}"
        try:
            self._fill(path, limits)
        except OSError as error:
            self.close()
            where = os.fsdecode(error.filename) if error.filename else path
            raise HiveboxError(
                "cannot make a control group", f"{where}: {errno_text(error.errno or 0)}", _HINT
            ) from error
        except BaseException:
            self.close()
            raise

    def reap(self) -> None:
        from hivebox.kernel.cgroup.reap import reap  # noqa: PLC0415  # while the sandbox mounts

        reap(self._parent)


def mount_point() -> str:
    """Of the cgroup2 file system. The mount table says only where it is, not what can be done there."""
    for path in _USUAL_MOUNTS:
        if os.path.exists(f"{path}/cgroup.controllers"):
            return path
    for mounted in mountinfo.read():
        if mounted.kind == "cgroup2":
            return mounted.point
    raise HiveboxError("cannot make a control group", f"no cgroup2 file system is mounted on {_USUAL_MOUNTS[0]}", _HINT)


def find_parent(limits: GroupLimits, own: str) -> str:
    """A directory whose children have the controllers that ``limits`` need. Raises HiveboxError with why there is
    none."""
    mount = mount_point()
    refused = []
    for path in _upwards(mount, own):
        try:
            _check_is_ours(path, mount)
            _enable(path, limits, is_own=path == _directory(mount, own))
        except OSError as error:
            refused.append(f"{path}: {errno_text(error.errno or 0)}")
        except HiveboxError as error:
            refused.append(error.why)
            if error.hint:
                raise
        else:
            return path
    raise HiveboxError("no group here is ours to divide", "; ".join(refused), _HINT)


def _directory(mount: str, own: str) -> str:
    return mount + own.rstrip("/")


def _upwards(mount: str, own: str) -> list[str]:
    """Our own group and those above it. A container may show a path that is not below its own mount: then the mount's
    root is as near as can be."""
    path = _directory(mount, own)
    if not os.path.isdir(path) or "/.." in own:
        path = mount
    paths = [path]
    while path != mount:
        path = os.path.dirname(path)
        paths.append(path)
    return paths


def _check_is_ours(path: str, mount: str) -> None:
    """Raises OSError where we may not write, HiveboxError where we should not."""
    for name in ("cgroup.procs", "cgroup.subtree_control"):
        os.close(os.open(f"{path}/{name}", os.O_WRONLY | os.O_CLOEXEC))
    if not os.path.isdir(_SYSTEMD) or os.path.basename(path) == f"hivebox-{os.geteuid()}":
        return
    if path == mount or os.path.basename(path).startswith("user@") or not _is_marked(path):
        raise HiveboxError("not ours", f"{path}: it is systemd's, and not marked as delegated")


def _is_marked(path: str) -> bool:
    for name in _DELEGATED:
        try:
            return os.getxattr(path, name) == b"1"
        except OSError:  # no such attribute, or not readable by us
            continue
    return False


def _enable(path: str, limits: GroupLimits, *, is_own: bool) -> None:
    try:
        enable(path, limits)
    except OSError as error:
        if error.errno != errno.EBUSY or not is_own:
            raise
        if read(f"{path}/cgroup.procs").split() != [str(os.getpid())]:
            raise HiveboxError(
                "not ours", f"{path}: other processes are in this group, and only ours may be moved"
            ) from error
        _move_and_enable(path, limits)


def _move_and_enable(path: str, limits: GroupLimits) -> None:
    """The leaf stays for as long as we live; whoever reaps this group's children removes it."""
    leaf = f"{path}/{group_name('self')}"
    os.mkdir(leaf, 0o755)
    write(f"{leaf}/cgroup.procs", "0")
    try:
        enable(path, limits)
    except OSError:  # somebody else came in meanwhile
        write(f"{path}/cgroup.procs", "0")
        remove(leaf)
        raise
