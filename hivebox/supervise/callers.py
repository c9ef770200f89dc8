"""Which process of the sandbox holds a socket that the relay of the network allowlist asks about."""

from __future__ import annotations

import os
import time

from hivebox.supervise.meter import descendants

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hivebox.network.process import Relay

_MOST_LINKS = 2000
_SHARE, _MOST_CREDIT_S = 0.05, 0.05


class Callers:
    """Answers within a twentieth of the supervisor's time, whatever a script makes the relay ask; the rest is lost."""

    def __init__(self, relay: Relay, init_pid: int) -> None:
        self._relay, self._init_pid = relay, init_pid
        self._credit_s, self._counted = _MOST_CREDIT_S, time.monotonic()

    def on_readable(self) -> bool:
        """False when the relay is gone."""
        inodes = self._relay.questions()
        for inode in inodes or ():
            start = time.monotonic()
            self._credit_s = min(self._credit_s + (start - self._counted) * _SHARE, _MOST_CREDIT_S)
            self._counted = start
            if self._credit_s > 0:
                self._answer(inode)
                self._credit_s -= time.monotonic() - start
        return inodes is not None

    def _answer(self, inode: int) -> None:
        pid = holder(self._init_pid, inode)
        if pid:
            self._relay.answer(inode, pid)


def holder(init_pid: int, inode: int) -> int:
    """The pid, as this process sees it, of a process that has the socket; 0 if none was found."""
    wanted, links = f"socket:[{inode}]", 0
    for pid in descendants(init_pid):
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                links += 1
                if os.readlink(f"/proc/{pid}/fd/{name}") == wanted:
                    return pid
                if links >= _MOST_LINKS:
                    return 0
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # ended, or closed, between two reads
    return 0
