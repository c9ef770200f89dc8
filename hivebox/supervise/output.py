"""Passing the payload's output on, byte for byte, without ever blocking the loop that keeps the clock."""

from __future__ import annotations

import _socket
import errno
import os
import select
import stat
import time

from hivebox.errors import errno_text

_READ_BYTES = 1 << 16
# A pipe or terminal that polls writable takes this much without blocking (POSIX PIPE_BUF).
_WRITE_BYTES = select.PIPE_BUF
_REOPEN = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NO_ROOM_S = 0.002


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

    Neither end ever blocks us, whatever others who hold the same pipe or terminal do between the poll and the call: the
    script can take bytes back out of its own stdout, and a terminal can be stopped. While the reader is slow nothing
    more is read, so the payload feels the back-pressure as it would without us.
    """

    def __init__(self, source_fd: int, sink_fd: int | None, budget: Budget) -> None:
        self.source_fd = source_fd
        self.sink_fd = sink_fd
        self.total_bytes = 0
        self.kept = bytearray()
        self._pending = b""
        self._budget = budget
        self._last = False
        self.open = True
        self.error = ""
        self._sink = Sink(sink_fd) if sink_fd is not None else None
        os.set_blocking(source_fd, False)  # ours alone: a pipe's other end, and another's own opening, keep theirs

    def wants_write(self) -> bool:
        """True while the sink should be polled for writing instead of the source for reading."""
        return bool(self._pending)

    def on_readable(self) -> None:
        """Take what is there. The end of the stream clears ``open``."""
        try:
            chunk = os.read(self.source_fd, _READ_BYTES)
        except BlockingIOError:
            chunk = None
        if not chunk:
            if chunk is not None or self._last:
                self.close()
            return
        allowed = chunk[: self._budget.take(len(chunk))]
        self.total_bytes += len(allowed)
        if self._sink is None:
            self.kept += allowed
        else:
            self._pending = allowed
            if not self._sink.pollable:
                self.on_writable()

    def drain(self) -> None:
        """Whoever could write is dead: what is there is the rest, even if somebody else holds the pipe."""
        self._last = True
        if self.open and not self._pending:
            self.on_readable()

    def on_writable(self) -> None:
        """Write what the sink takes (everything, if it is a file)."""
        assert self._sink is not None  # noqa: S101  # for the type checker: only sinks are polled
        try:
            self._pending = self._pending[self._sink.write(self._pending) :]
            while self._pending and not self._sink.pollable:
                self._pending = self._pending[self._sink.write(self._pending) :]
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
            if self._sink:
                self._sink.close()


class Sink:
    """The caller's descriptor, which stays as it is: O_NONBLOCK would be shared with the caller's shell. A pipe or
    terminal is opened once more instead, a socket is told with each send; where that is not allowed (the terminal of
    another user), it is written when it polls writable, in pieces that a pipe takes at once."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._own_fd = -1
        self._socket: _socket.socket | None = None
        mode = os.fstat(fd).st_mode
        self.pollable = not stat.S_ISREG(mode) and _is_pollable(fd)
        if stat.S_ISSOCK(mode):
            self._socket = _socket.socket(fileno=os.dup(fd))
        elif self.pollable:
            try:
                self._own_fd = os.open(f"/proc/self/fd/{fd}", _REOPEN)
            except OSError:
                self._own_fd = -1

    def write(self, content: bytes) -> int:
        """Bytes taken. Raises BlockingIOError when there is no room now, OSError as write(2)."""
        if self._socket:
            return self._socket.send(content, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
        if not self.pollable:
            return os.write(self._fd, content)
        if self._own_fd < 0:
            if not _takes_now(self._fd):
                raise BlockingIOError
            return os.write(self._fd, content[:_WRITE_BYTES])
        try:
            return os.write(self._own_fd, content)
        except BlockingIOError:
            time.sleep(_NO_ROOM_S)  # a terminal may poll writable and take nothing: room for one, and a newline is two
            raise

    def close(self) -> None:
        """What was opened for it. Safe to call twice."""
        if self._own_fd >= 0:
            os.close(self._own_fd)
            self._own_fd = -1
        if self._socket:
            self._socket.close()
            self._socket = None


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
