"""One epoll(7) and a heap of timers. Not thread-safe."""

from __future__ import annotations

import heapq
import select
import time
from collections.abc import Callable

READ, WRITE, ERROR, HUNG_UP = select.EPOLLIN, select.EPOLLOUT, select.EPOLLERR, select.EPOLLHUP
GONE = ERROR | HUNG_UP
_BATCH = 256


class Timer:
    """``cancel`` may be called at any time, and more than once."""

    __slots__ = ("act",)

    def __init__(self, act: Callable[[], None]) -> None:
        self.act: Callable[[], None] | None = act

    def cancel(self) -> None:
        self.act = None


class Loop:
    """Handlers are called with the events of their descriptor; an event of one that was forgotten in the same round
    is dropped."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._events: dict[int, int] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._made = 0
        self.now = time.monotonic()

    def watch(self, handle: int, events: int, handler: Callable[[int], None]) -> None:
        """Level-triggered. A handle may be watched once."""
        self._epoll.register(handle, events)
        self._handlers[handle] = handler
        self._events[handle] = events

    def change(self, handle: int, events: int) -> None:
        """Wait for other events; costs nothing when they are the same. Nothing for a handle that is not watched."""
        if self._events.get(handle, events) != events:
            self._epoll.modify(handle, events)
            self._events[handle] = events

    def forget(self, handle: int) -> None:
        """Before the descriptor is closed. Safe to call twice."""
        if self._handlers.pop(handle, None) is not None:
            self._epoll.unregister(handle)
            del self._events[handle]

    def after(self, delay_s: float, act: Callable[[], None]) -> Timer:
        """Call ``act`` once, later."""
        timer = Timer(act)
        self._made += 1
        heapq.heappush(self._timers, (self.now + delay_s, self._made, timer))
        return timer

    def turn(self) -> None:
        """Wait for something and do it."""
        ready = self._epoll.poll(self._timeout_s(), _BATCH)
        self.now = time.monotonic()
        for handle, events in ready:
            handler = self._handlers.get(handle)
            if handler:
                handler(events)
        while self._timers and self._timers[0][0] <= self.now:
            act = heapq.heappop(self._timers)[2].act
            if act:
                act()

    def _timeout_s(self) -> float:
        while self._timers and self._timers[0][2].act is None:
            heapq.heappop(self._timers)
        return max(self._timers[0][0] - time.monotonic(), 0.0) if self._timers else -1.0
