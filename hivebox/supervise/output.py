"""Passing the payload's output on, byte for byte, without ever blocking the loop that keeps the clock."""

from __future__ import annotations

import errno
import os
import select

from hivebox.errors import errno_text

_READ_BYTES = 1 << 16
# A pipe or terminal that polls writable takes this much without blocking (POSIX PIPE_BUF).
_WRITE_BYTES = select.PIPE_BUF


class Budget:
    """Bytes that stdout and stderr may still produce together."""

    def __init__(self, size_bytes: int) -> None:
        self.remaining = size_bytes
        self.exceeded = False

    def take(self, wanted: int) -> int:
        """How many of ``wanted`` bytes may pass."""
        granted = min(wanted, self.remaining)
        self.remaining -= granted
        self.exceeded = self.exceeded or granted < wanted
        return granted


class Pump:
    """One stream: from ``source_fd``, which it closes, to ``sink_fd``, or kept when ``sink_fd`` is None.

    The caller's descriptor stays as it is (no O_NONBLOCK: the flag is shared with the caller's shell); instead it is
    written when it polls writable, in pieces that cannot block. While the reader is slow nothing more is read, so the
    payload feels the back-pressure as it would without us.
    """

    def __init__(self, source_fd: int, sink_fd: int | None, budget: Budget) -> None:
        self.source_fd = source_fd
        self.sink_fd = sink_fd
        self.total_bytes = 0
        self.kept = bytearray()
        self._pending = b""
        self._budget = budget
        self.open = True
        self.error = ""
        self._pollable = sink_fd is not None and _is_pollable(sink_fd)

    def wants_write(self) -> bool:
        """True while the sink should be polled for writing instead of the source for reading."""
        return bool(self._pending)

    def on_readable(self) -> None:
        """Take what is there. The end of the stream clears ``open``."""
        chunk = os.read(self.source_fd, _READ_BYTES)
        if not chunk:
            self.close()
            return
        allowed = chunk[: self._budget.take(len(chunk))]
        self.total_bytes += len(allowed)
        if self.sink_fd is None:
            self.kept += allowed
        else:
            self._pending = allowed
            if not self._pollable:
                self.on_writable()

    def on_writable(self) -> None:
        """Write one piece (everything, if the sink is a file)."""
        assert self.sink_fd is not None  # noqa: S101  # for the type checker: only sinks are polled
        if self._pollable and not _takes_now(self.sink_fd):
            return  # the other stream goes to the same pipe and took the last place in this turn
        try:
            piece = self._pending[:_WRITE_BYTES] if self._pollable else self._pending
            self._pending = self._pending[os.write(self.sink_fd, piece) :]
            while self._pending and not self._pollable:
                self._pending = self._pending[os.write(self.sink_fd, self._pending) :]
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in {errno.EPIPE, errno.ECONNRESET}:
                self.error = f"cannot pass its output on: {errno_text(error.errno or 0)}"
            self._pending = b""
            self.close()  # our reader is gone, and the payload learns it as it would without us: SIGPIPE

    def close(self) -> None:
        """Close the source; safe to call twice."""
        if self.open:
            self.open = False
            os.close(self.source_fd)


def _takes_now(sink_fd: int) -> bool:
    poller = select.poll()
    poller.register(sink_fd, select.POLLOUT)
    return bool(poller.poll(0))


def _is_pollable(sink_fd: int) -> bool:
    poller = select.epoll()
    try:
        poller.register(sink_fd, select.EPOLLOUT)
    except PermissionError:  # epoll refuses regular files: they never block
        return False
    finally:
        poller.close()
    return True


class Feeder:
    """The caller's stdin, or a file, to the payload's stdin pipe, whose end ``sink_fd`` it closes."""

    def __init__(self, source_fd: int, sink_fd: int) -> None:
        self.source_fd = source_fd
        self.sink_fd = sink_fd
        self._pending = b""
        self.open = True
        os.set_blocking(sink_fd, False)
        self.pollable = _is_pollable(source_fd)

    def wants_write(self) -> bool:
        """True while the pipe should be polled for writing."""
        return bool(self._pending) or not self.pollable

    def on_readable(self) -> None:
        """Take what is there; at the end of the input close the payload's stdin."""
        self._pending = os.read(self.source_fd, _READ_BYTES)
        if not self._pending:
            self.finish()

    def on_writable(self) -> None:
        """Write what the pipe takes."""
        if not self._pending:
            self.on_readable()
        try:
            if self.open:
                self._pending = self._pending[os.write(self.sink_fd, self._pending) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.finish()

    def finish(self) -> None:
        """Nothing more will be fed; safe to call twice."""
        if self.open:
            self.open = False
            self._pending = b""
            os.close(self.sink_fd)
