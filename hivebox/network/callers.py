"""Which process speaks. The relay can ask the sandbox's kernel for the socket at the other end, and may see no process:
it tells the supervisor the socket, which finds who holds it (supervise/callers.py) and answers when it has time.

Best effort: what has ended by then is not found, and a flood is not looked into.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

from hivebox.kernel import sock_diag
from hivebox.loop import Loop

_MOST_IN_A_SECOND = 50
PROTOCOLS = {"tcp": 6, "udp": 17}


class Callers:
    """``diag`` is the sandbox's (sock_diag(7)); ``ask`` passes an inode on to the supervisor."""

    def __init__(self, loop: Loop, ask: Callable[[int], None]) -> None:
        self._loop, self._ask = loop, ask
        self.diag: socket.socket | None = None
        self._second, self._asked = 0, 0

    def find(self, protocol: str, client: tuple[Any, ...], server: tuple[Any, ...]) -> int:
        """The inode of a client's socket, about which the supervisor has been asked; 0 if that is not known."""
        if self._loop.now >= self._second + 1:
            self._second, self._asked = int(self._loop.now), 0
        if self.diag is None or self._asked >= _MOST_IN_A_SECOND:
            return 0
        self._asked += 1
        inode = sock_diag.socket_inode(self.diag, PROTOCOLS[protocol], _place(client), _place(server))
        if inode:
            self._ask(inode)
        return inode


def _place(address: tuple[Any, ...]) -> sock_diag.Place:
    return ipaddress.ip_address(address[0]).packed, address[1]
