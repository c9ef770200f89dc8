"""Who the payload is: uid 1000 ``hive`` inside, an unprivileged user of the host outside."""

from __future__ import annotations

import fcntl
import os

from hivebox.errors import HiveboxError, from_os_error
from hivebox.kernel import cgroup, process
from hivebox.locations import make_private_dir
from hivebox.steps.step import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INSIDE_ID = 1000
# Above every range that useradd and systemd hand out, below the 2**31 that some file systems mistake for negative.
UID_RANGE_START, UID_RANGE_SIZE = 1_900_000_000, 65_536
_ATTEMPTS = 64


def _allocate(directory: str) -> tuple[int, int]:
    """A host uid that no other live run of this host has, and the descriptor whose lock says so."""
    make_private_dir(directory)
    for _ in range(_ATTEMPTS):
        offset = int.from_bytes(os.urandom(4), "little") % UID_RANGE_SIZE
        handle = os.open(f"{directory}/{offset}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
        else:
            return UID_RANGE_START + offset, handle
    raise HiveboxError("cannot allocate a user id for the run", f"{_ATTEMPTS} tries below {directory} were all taken")


class Identity(Step):
    """Maps exactly one id. Started by root, the run gets a uid of its own, so that two runs cannot signal or read
    each other even if every namespace failed; started by anyone else, it is that user."""

    name = "identity"

    def __init__(self, state_dir: str) -> None:
        self._state_dir = state_dir
        self._lock_fd = -1
        self.host_uid = os.geteuid()
        self.host_gid = os.getegid()
        self.allocated = self.host_uid == 0

    def describe(self) -> dict[str, Any]:
        return {"uid": INSIDE_ID, "gid": INSIDE_ID, "host_uid": self.host_uid, "allocated": self.allocated}

    def prepare(self) -> None:
        if self.allocated:
            self.host_uid, self._lock_fd = _allocate(os.path.join(self._state_dir, "uids"))
            self.host_gid = self.host_uid

    def attach(self, pid: int) -> None:
        try:
            if not self.allocated:  # the kernel's condition for an ordinary user to write gid_map
                cgroup.write(f"/proc/{pid}/setgroups", "deny")
            cgroup.write(f"/proc/{pid}/uid_map", f"{INSIDE_ID} {self.host_uid} 1")
            cgroup.write(f"/proc/{pid}/gid_map", f"{INSIDE_ID} {self.host_gid} 1")
        except OSError as error:
            raise from_os_error(
                "cannot map the sandbox's user", error, "see `hivebox doctor`: user namespaces may be restricted here"
            ) from error

    def set_up(self) -> None:
        if self.allocated:
            os.setgroups([])  # an ordinary user's supplementary groups stay: the kernel lets nobody drop them
        os.setresgid(INSIDE_ID, INSIDE_ID, INSIDE_ID)
        os.setresuid(INSIDE_ID, INSIDE_ID, INSIDE_ID)
        process.set_dumpable(dumpable=False)

    def release(self) -> None:
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1
