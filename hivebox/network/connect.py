"""Happy Eyeballs (RFC 8305): several addresses of one host, tried side by side; the first that answers is taken."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from hivebox.loop import WRITE, Loop
from hivebox.network.addresses import Address

_NEXT_AFTER_S, _LONGEST_S = 0.25, 8.0
_MOST_ADDRESSES = 8

Done = Callable[[socket.socket | None, str, str], None]


def interleave(addresses: tuple[Address, ...]) -> list[Address]:
    """The families by turns, IPv6 first; within a family as the server ordered them."""
    six = [each for each in addresses if each.version == 6]
    four = [each for each in addresses if each.version == 4]
    mixed: list[Address] = []
    while six or four:
        mixed += [family.pop(0) for family in (six, four) if family]
    return mixed[:_MOST_ADDRESSES]


def is_own(address: Address) -> bool:
    """Whether it is one of this host's: the kernel then sends from the address itself. Sends nothing. True where that
    cannot be found out."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    except OSError as error:
        return error.errno != errno.EAFNOSUPPORT
    with opened as probe:
        try:
            probe.connect((str(address), 9))
        except OSError:
            return False  # no way there: connecting will say so
        return bool(probe.getsockname()[0] == str(address))


class Connecting:
    """``done`` is called once, with a connected socket and its address, or None and why not; ``cancel`` prevents it."""

    def __init__(self, loop: Loop, addresses: tuple[Address, ...], port: int, done: Done) -> None:
        self._loop, self._port, self._done = loop, port, done
        self._left = interleave(addresses)
        self._trying: dict[int, tuple[socket.socket, str]] = {}
        self._why = "no address"
        self._deadline = loop.after(
            _LONGEST_S, lambda: self._finish(None, "", f"no answer within {_LONGEST_S:g} seconds")
        )
        self._timer = loop.after(0.0, lambda: None)
        self._next()

    def cancel(self) -> None:
        """Stop all tries. Safe to call twice."""
        self._deadline.cancel()
        self._timer.cancel()
        for handle, (attempt, _) in self._trying.items():
            self._loop.forget(handle)
            attempt.close()
        self._trying.clear()

    def _next(self) -> None:
        self._timer.cancel()
        if not self._left:
            if not self._trying:
                self._finish(None, "", self._why)
            return
        address = self._left.pop(0)
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        self._timer = self._loop.after(_NEXT_AFTER_S, self._next)
        try:
            attempt = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            self._failed(error.errno or 0)
            return
        number = attempt.connect_ex((str(address), self._port))
        if number not in {0, errno.EINPROGRESS}:
            attempt.close()
            self._failed(number)
            return
        handle = attempt.fileno()
        self._trying[handle] = attempt, str(address)
        self._loop.watch(handle, WRITE, lambda _: self._on_ready(handle))

    def _failed(self, number: int) -> None:
        self._why = f"connect: {os.strerror(number).lower()} ({errno.errorcode.get(number, number)})"
        self._timer.cancel()
        self._timer = self._loop.after(0.0, self._next)

    def _on_ready(self, handle: int) -> None:
        attempt, address = self._trying.pop(handle)
        self._loop.forget(handle)
        number = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            attempt.close()
            self._failed(number)
        else:
            self._finish(attempt, address, "")

    def _finish(self, connected: socket.socket | None, address: str, why: str) -> None:
        self.cancel()
        self._left.clear()
        self._done(connected, address, why)
