"""Work that waits without blocking: a generator that yields what it waits for and is gone on with when that is there.

A run is written once, from top to bottom, as such a generator. The command line drives one to its end (``block``), the
service drives hundreds in one loop (service/server.py); neither needs a thread.
"""

from __future__ import annotations

import select

from hivebox.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import TypeVar

    T = TypeVar("T")
    Waiting = Generator["Wait", None, T]


class Wait(Frozen):
    """Until ``fd`` is readable, hung up or in error, or ``timeout_s`` seconds have passed; -1 for no end."""

    fd: int
    timeout_s: float = -1.0


def block(work: Waiting[T]) -> T:
    """Drive ``work`` alone, and return or raise what it does. What interrupts the waiting is raised inside it."""
    try:
        wait = next(work)
        while True:
            try:
                sleep(wait)
            except BaseException as error:  # noqa: BLE001  # its clean-up is its own
                wait = work.throw(error)
            else:
                wait = next(work)
    except StopIteration as end:
        result: T = end.value
        return result


def sleep(wait: Wait) -> None:
    """poll(2), for who has nothing else to do."""
    poller = select.poll()
    poller.register(wait.fd, select.POLLIN)
    poller.poll(wait.timeout_s * 1000 if wait.timeout_s >= 0 else None)
