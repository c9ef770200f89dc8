"""The root: a fresh tmpfs that holds the read-only tree, a synthesized /etc, and mount points."""

from __future__ import annotations

import os
import stat

from hivebox.errors import HiveboxError, from_os_error
from hivebox.kernel import mount
from hivebox.kernel.write import write_all
from hivebox.rootfs.store import Tree, hold
from hivebox.steps.identity import INSIDE_ID, Identity
from hivebox.steps.namespaces import HOSTNAME
from hivebox.steps.source import DEVICE, READ_ONLY, Source
from hivebox.steps.step import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Any directory that exists on every host will do: the mount is only seen in the new namespace, and only until pivot.
_STAGING = "/tmp"  # noqa: S108
_ROOT_SIZE = "size=8M,nr_inodes=4096"  # /etc and mount points, and a script beside them (steps/script.py)
_DEVICES = ("null", "zero", "full", "random", "urandom")
_DEVICE_LINKS = (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"))
ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/false\n"
    f"hive:x:{INSIDE_ID}:{INSIDE_ID}:hive:/tmp:/bin/false\n"
    "nobody:x:65534:65534:nobody:/:/bin/false\n",
    "group": f"root:x:0:\nhive:x:{INSIDE_ID}:\nnogroup:x:65534:\n",
    "hosts": f"127.0.0.1 localhost {HOSTNAME}\n::1 localhost\n",
    "hostname": f"{HOSTNAME}\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "resolv.conf": "",
    "services": "domain 53/tcp\ndomain 53/udp\nhttp 80/tcp www\nhttps 443/tcp\nhttps 443/udp\n",
}
# With a network allowlist: the relay answers there.
_ETC_NAMES = {
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "resolv.conf": "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n",
}


def write_file(path: str, content: bytes, mode: int = 0o444) -> None:
    """Create ``path`` (during the set-up: the root is still writable)."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    write_all(handle, content)
    os.fchmod(handle, mode)
    os.close(handle)


def open_target(dest: str, *, is_dir: bool) -> int:
    """The mount point ``dest`` (absolute in the sandbox) below the current directory, made if missing, as an O_PATH
    descriptor that the caller closes. No link is followed: one inside a granted directory cannot redirect a later
    mount. Mount points are made on the sandbox's own tmpfs only, never inside a directory of the host."""
    root_fd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    own_devices = {os.fstat(root_fd).st_dev}
    if os.path.isdir("work"):
        own_devices.add(os.stat("work").st_dev)
    parts = [part for part in dest.split("/") if part]
    target_fd = os.dup(root_fd)
    try:
        for depth, part in enumerate(parts, start=1):
            if os.fstat(target_fd).st_dev in own_devices:
                _create(target_fd, part, is_dir=is_dir or depth < len(parts))
            os.close(target_fd)
            target_fd = mount.open_in_root(root_fd, "/".join(parts[:depth]), os.O_PATH)
    except OSError as error:
        raise from_os_error(
            f"cannot mount on {dest} in the sandbox",
            error,
            "choose a destination outside read-only and granted directories, or one that exists there",
        ) from error
    finally:
        os.close(root_fd)
    if stat.S_ISDIR(os.fstat(target_fd).st_mode) is not is_dir:
        why = "a directory is there, and what is granted is none" if not is_dir else "what is there is no directory"
        raise HiveboxError(f"cannot mount on {dest} in the sandbox", why, "choose another destination: PATH:DEST")
    return target_fd


def bind(source: Source, dest: str) -> None:
    """Mount ``source`` on ``dest`` below the current directory."""
    target_fd = open_target(dest, is_dir=source.is_dir)
    source.mount_on(target_fd)
    os.close(target_fd)


def _create(parent_fd: int, name: str, *, is_dir: bool) -> None:
    try:
        if is_dir:
            os.mkdir(name, 0o755, dir_fd=parent_fd)
        else:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444, dir_fd=parent_fd))
    except FileExistsError:
        return


class Root(Step):
    """A fresh tmpfs with a synthesized /etc, /proc (own processes only, read-only: one process cannot rewrite another
    through /proc/PID/mem) and five devices: what every recipe shares.
    ``terminals`` adds a /dev/pts of its own, for programs that run others on a pseudo-terminal; ``names`` says that
    there is a name server."""

    name = "root"

    def __init__(
        self, identity: Identity, *, private_proc: bool = True, terminals: bool = False, names: bool = False
    ) -> None:
        self._terminals = terminals
        self._etc = ETC | _ETC_NAMES if names else ETC
        self._private_proc = private_proc
        self._proc_flags = mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC | mount.MS_RDONLY
        self._devices = tuple(Source(f"/dev/{name}", DEVICE, identity, map_owner=False) for name in _DEVICES)

    def describe(self) -> dict[str, Any]:
        plain = {"devices": list(_DEVICES), "proc": "ro,subset=pid,hidepid=ptraceable"}
        return {**plain, "terminals": "private"} if self._terminals else plain

    def prepare(self) -> None:
        for source in self._devices:
            source.prepare()

    def child_fds(self) -> tuple[int, ...]:
        return tuple(handle for source in self._devices for handle in source.child_fds())

    def enter(self) -> None:
        for source in self._devices:
            source.enter()

    def set_up(self) -> None:
        mount.mount("", "/", "", mount.MS_REC | mount.MS_PRIVATE)
        mount.mount("tmpfs", _STAGING, "tmpfs", mount.MS_NOSUID | mount.MS_NODEV, f"mode=0755,{_ROOT_SIZE}")
        os.chdir(_STAGING)
        os.umask(0o022)
        os.mkdir("etc")
        for name, content in self._etc.items():
            write_file(f"etc/{name}", content.encode())
        self._populate_dev()
        self._mount_proc()

    def _populate_dev(self) -> None:
        os.mkdir("dev")
        for name, source in zip(_DEVICES, self._devices, strict=True):
            bind(source, f"/dev/{name}")
        for link, target in _DEVICE_LINKS:
            os.symlink(target, f"dev/{link}")
        if self._terminals:
            os.mkdir("dev/pts")
            options = "newinstance,ptmxmode=0666,mode=0600,max=64"
            mount.mount("devpts", "dev/pts", "devpts", mount.MS_NOSUID | mount.MS_NOEXEC, options)
            os.symlink("pts/ptmx", "dev/ptmx")

    def _mount_proc(self) -> None:
        os.mkdir("proc")
        options = "subset=pid,hidepid=ptraceable" if self._private_proc else ""
        try:
            mount.mount("proc", "proc", "proc", self._proc_flags, options)
        except PermissionError as error:
            raise HiveboxError(
                "cannot mount a private /proc",
                "mount(proc): operation not permitted (EPERM): parts of this host's own /proc are covered by other "
                "mounts, as in a container",
                "run the container with an uncovered /proc (docker: --security-opt systempaths=unconfined)",
            ) from error

    def release(self) -> None:
        for source in self._devices:
            source.release()


class Rootfs(Step):
    """Binds each unit of the tree read-only. After the work directory, because an interpreter may live below /tmp."""

    name = "rootfs"

    def __init__(self, tree: Tree, identity: Identity) -> None:
        self.tree = tree
        # Readable by everyone as they are, so no owner needs to be mapped (a namespace each, 3 ms).
        self._units = tuple(Source(tree.path + unit, READ_ONLY, identity, map_owner=False) for unit in tree.mounts)
        self._etc: dict[str, bytes] = {}
        self._hold_fd = -1  # release() closes it

    def describe(self) -> dict[str, Any]:
        return {"recipe": self.tree.recipe, "digest": self.tree.digest, "mounts": list(self.tree.mounts)}

    def prepare(self) -> None:
        self._hold_fd = hold(self.tree)  # `rootfs prune` leaves it alone while the sandbox lives
        for source in self._units:
            source.prepare()
        for name, path in self.tree.etc:
            with open(f"{self.tree.path}{path}", "rb") as file:
                self._etc[name] = file.read()

    def child_fds(self) -> tuple[int, ...]:
        return tuple(handle for source in self._units for handle in source.child_fds())

    def enter(self) -> None:
        for source in self._units:
            source.enter()

    def set_up(self) -> None:
        for unit, source in zip(self.tree.mounts, self._units, strict=True):
            bind(source, unit)
        for link, target in self.tree.symlinks:
            relative = link.lstrip("/")
            os.makedirs(os.path.dirname(relative) or ".", exist_ok=True)
            if not os.path.lexists(relative):  # a unit may lie at the same name
                os.symlink(target, relative)
        for name, content in self._etc.items():
            write_file(f"etc/{name}", content)

    def release(self) -> None:
        for source in self._units:
            source.release()
        if self._hold_fd >= 0:
            os.close(self._hold_fd)
            self._hold_fd = -1


class Pivot(Step):
    """The last word on mounts: the host's tree is gone and the new root is read-only."""

    name = "pivot"

    def __init__(self, *, read_only: bool = True) -> None:
        self._read_only = read_only

    def describe(self) -> dict[str, Any]:
        return {"read_only": self._read_only, "old_root": "detached"}

    def set_up(self) -> None:
        mount.pivot_root(".", ".")
        mount.umount2(".", mount.MNT_DETACH)
        os.chdir("/")
        if self._read_only:
            root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            mount.mount_setattr(root_fd, READ_ONLY, recursive=False)
            os.close(root_fd)
