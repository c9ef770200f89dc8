"""/work, /tmp and /dev/shm: one private tmpfs with a size and an inode cap for the three together."""

from __future__ import annotations

import os

from hivebox.kernel import mount
from hivebox.steps.step import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WORK = "/work"
_HIDDEN = ("work", "tmp", "shm", "overlay")


class Workdir(Step):
    """The only place a script may write by default. A part of the same tmpfs that no path leads to holds the upper
    layers of overlays (steps/grants.py), so that these count against the caps too."""

    name = "workdir"

    def __init__(self, *, size_bytes: int, inodes: int, executable: bool) -> None:
        self._size_bytes = size_bytes
        self._inodes = inodes
        self._executable = executable
        self.work_fd = -1
        self.overlay_fd = -1

    def describe(self) -> dict[str, Any]:
        return {"size_bytes": self._size_bytes, "inodes": self._inodes, "executable": self._executable}

    def set_up(self) -> None:
        flags = mount.MS_NOSUID | mount.MS_NODEV | (0 if self._executable else mount.MS_NOEXEC)
        for point in ("work", "tmp", "dev/shm"):
            os.mkdir(point)
        mount.mount("tmpfs", "work", "tmpfs", flags, f"mode=0755,size={self._size_bytes},nr_inodes={self._inodes}")
        for part in _HIDDEN:
            os.mkdir(f"work/{part}")
        self.overlay_fd = os.open("work/overlay", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part, dest in (("tmp", "tmp"), ("shm", "dev/shm"), ("work", "work")):
            if part != "work":
                os.chmod(f"work/{part}", 0o1777)  # noqa: S103  # as every program expects of /tmp
            mount.mount(f"work/{part}", dest, "", mount.MS_BIND)
        self.work_fd = os.open("work", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
