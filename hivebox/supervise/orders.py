"""Who may end a run early: the signals that this process receives, or the peer of a socket."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any, Protocol
else:
    import _signal as signal  # without the enumerations, which cost 3 ms

    Protocol = object

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GONE = 0


class Orders(Protocol):
    """Signals for the payload: the first is passed on, the second ends it."""

    def open(self) -> int:
        """A descriptor that is readable when there is an order."""

    def take(self) -> int:
        """The number of a signal; GONE when nobody is left who could give one."""

    def close(self) -> None:
        """The run is over. Called once, also when ``open`` failed or was not called."""


class OwnSignals:
    """Those that a terminal or a service manager sends to this process, while the run lasts."""

    def __init__(self) -> None:
        self._wakeup_fds: tuple[int, int] | None = None
        self._previous_wakeup = -1
        self._previous: dict[int, Any] = {}

    def open(self) -> int:
        wakeup_fds = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wakeup_fds = wakeup_fds
        self._previous = {number: signal.signal(number, lambda *_: None) for number in _FORWARDED}
        self._previous_wakeup = signal.set_wakeup_fd(wakeup_fds[1])
        return wakeup_fds[0]

    def take(self) -> int:
        assert self._wakeup_fds  # noqa: S101  # opened: its descriptor was readable
        return os.read(self._wakeup_fds[0], 64)[0]

    def close(self) -> None:
        if self._wakeup_fds:
            signal.set_wakeup_fd(self._previous_wakeup)
            for number, handler in self._previous.items():
                signal.signal(number, handler)
            for handle in self._wakeup_fds:
                os.close(handle)
            self._wakeup_fds = None


class PeerOrders:
    """A byte from the peer is the number of a signal, the end of its socket the end of the run. The descriptor stays
    the caller's."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def open(self) -> int:
        return self._handle

    def take(self) -> int:
        try:
            order = os.read(self._handle, 1)
        except ConnectionResetError:
            return GONE
        return order[0] if order else GONE

    def close(self) -> None:
        pass
