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
    """Signals for the payload: the first is passed on, the second ends it. ``fd`` is readable when there is one."""

    fd: int

    def take(self) -> int:
        """The number of a signal; GONE when nobody is left who could give one."""

    def close(self) -> None:
        """The run is over."""


class OwnSignals:
    """Those that a terminal or a service manager sends to this process, from here to ``close``."""

    def __init__(self) -> None:
        self.fd, self._writer_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._previous: dict[int, Any] = {number: signal.signal(number, lambda *_: None) for number in _FORWARDED}
        self._previous_wakeup = signal.set_wakeup_fd(self._writer_fd)

    def take(self) -> int:
        return os.read(self.fd, 64)[0]

    def close(self) -> None:
        signal.set_wakeup_fd(self._previous_wakeup)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        os.close(self.fd)
        os.close(self._writer_fd)


class PeerOrders:
    """A byte from the peer is the number of a signal, the end of its socket the end of the run. The descriptor stays
    the caller's."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def take(self) -> int:
        try:
            order = os.read(self.fd, 1)
        except ConnectionResetError:
            return GONE
        return order[0] if order else GONE

    def close(self) -> None:
        pass
