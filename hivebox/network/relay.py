"""Bytes from one socket to another with splice(2): they never enter this process.

A Flow is one direction. It owns a pipe only while something is in it, so that idle connections cost two descriptors.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Callable

from hivebox.loop import READ, WRITE, Loop
from hivebox.policy.model import Allow

_CHUNK = 1 << 20
_SPLICE_FLAGS = 0x1 | 0x2  # SPLICE_F_MOVE, SPLICE_F_NONBLOCK
# A large pipe takes 40 % less processor time for a byte than one of 256 KiB, and 60 % less than the usual one of 64. A
# user may have 64 MiB of pipes (pipe-user-pages-soft), after which the kernel makes them tiny: a few are large.
_LARGE, _MOST_LARGE, _MOST_POOLED = 1 << 20, 4, 64
_READ_SIZE = 1 << 16
_ROUNDS = 8  # of one flow before the others have their turn

Pipe = tuple[int, int]


class Pipes:
    """Empty pipes to borrow, the large ones first."""

    def __init__(self) -> None:
        self._free: list[Pipe] = []
        self._large: set[Pipe] = set()

    def take(self) -> Pipe:
        """Raises OSError when descriptors are used up."""
        if self._free:
            return self._free.pop()
        pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        if len(self._large) < _MOST_LARGE:
            self._enlarge(pipe)
        return pipe

    def _enlarge(self, pipe: Pipe) -> None:
        try:
            fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, _LARGE)
        except OSError:
            return  # the user's share of pipe memory is used up: the smaller one does
        self._large.add(pipe)

    def give(self, pipe: Pipe, *, empty: bool) -> None:
        """Back, or away when something is left in it or there are enough."""
        if empty and len(self._free) < _MOST_POOLED:
            self._free.insert(len(self._free) if pipe in self._large else 0, pipe)
            return
        self._large.discard(pipe)
        for handle in pipe:
            os.close(handle)


class Budget:
    """What one rule allows, over all its connections: a rate, as a bucket of one second, and a total."""

    def __init__(self, loop: Loop, rule: Allow) -> None:
        self._loop, self._rate, self.most = loop, rule.rate_bytes_s, rule.max_bytes
        self._used = 0
        self._tokens = float(self._rate)
        self._filled = loop.now
        self.connections = 0

    def allowance(self) -> int:
        """How many bytes may be moved now; 0 means later, -1 never."""
        most = _CHUNK
        if self.most:
            most = min(most, self.most - self._used)
            if most <= 0:
                return -1
        if self._rate:
            self._tokens = min(self._tokens + (self._loop.now - self._filled) * self._rate, self._rate)
            self._filled = self._loop.now
            most = min(most, int(self._tokens))
        return most

    def spend(self, count: int) -> None:
        self._used += count
        self._tokens -= count

    def wait_s(self) -> float:
        """Until there is a tenth of a second's worth, or one byte."""
        return max((max(self._rate / 10, 1.0) - self._tokens) / self._rate, 0.005)


class Flow:
    """From ``source`` to ``sink``. ``held`` reads nothing for now. Through a ``look`` bytes are read here, and what it
    returns goes on; it gets b"" at the end. ``on_change`` sets what both sockets wait for."""

    def __init__(
        self,
        loop: Loop,
        pipes: Pipes,
        budget: Budget,
        ends: tuple[socket.socket, socket.socket],
        on_change: Callable[[], None],
    ) -> None:
        self._loop, self._pipes, self._budget = loop, pipes, budget
        self._source, self._sink = ends
        self._on_change = on_change
        self._pipe: Pipe | None = None
        self._in_pipe = 0
        self._head = b""
        self._waits = False
        self.held = False
        self.look: Callable[[bytes], bytes] | None = None
        self.ended = False
        self.done = False
        self.exhausted = False
        self.total = 0

    @property
    def reads(self) -> bool:
        return not (self.held or self.ended or self._waits or self._in_pipe or self._head)

    @property
    def writes(self) -> bool:
        return bool(self._in_pipe or self._head)

    def put(self, data: bytes) -> None:
        """Bytes that were looked at. Raises OSError."""
        self._head += data
        self._budget.spend(len(data))
        self.drain()

    def drain(self) -> None:
        """Write what is waiting. Raises OSError when the other side is gone."""
        try:
            while self._head:
                sent = self._sink.send(self._head)
                self.total += sent
                self._head = self._head[sent:]
            while self._in_pipe and self._pipe:
                sent = os.splice(self._pipe[0], self._sink.fileno(), self._in_pipe, flags=_SPLICE_FLAGS)
                self._in_pipe -= sent
                self.total += sent
        except BlockingIOError:
            return
        self._give_back()
        self._pass_end_on()

    def move(self) -> None:
        """Read and write while both go on. Raises OSError."""
        for _ in range(_ROUNDS):
            if not self.reads:
                return
            allowance = self._budget.allowance()
            if allowance <= 0:
                self._pause(allowance)
                return
            try:
                count = self._read_here(allowance) if self.look else self._splice(allowance)
            except BlockingIOError:
                self._give_back()
                return
            if not count:
                self._give_back()
                self.ended = True
                self._pass_end_on()
                return

    def _splice(self, most: int) -> int:
        if self._pipe is None:
            self._pipe = self._pipes.take()
        count = os.splice(self._source.fileno(), self._pipe[1], most, flags=_SPLICE_FLAGS)
        self._in_pipe = count
        self._budget.spend(count)
        self.drain()
        return count

    def _read_here(self, most: int) -> int:
        data = self._source.recv(min(most, _READ_SIZE))
        if self.look:
            self.put(self.look(data))
        return len(data)

    def close(self) -> None:
        """Give back the pipe."""
        if self._pipe:
            self._pipes.give(self._pipe, empty=not self._in_pipe)
            self._pipe = None

    def _give_back(self) -> None:
        if self._pipe and not self._in_pipe:
            self._pipes.give(self._pipe, empty=True)
            self._pipe = None

    def _pass_end_on(self) -> None:
        if self.ended and not self.done and not self.writes:
            self.done = True
            try:
                self._sink.shutdown(socket.SHUT_WR)
            except OSError as error:
                if error.errno != errno.ENOTCONN:  # it has gone by itself, and needs no word of ours
                    raise

    def _pause(self, allowance: int) -> None:
        if allowance < 0:
            self.exhausted = True
        elif not self._waits:
            self._waits = True
            self._loop.after(self._budget.wait_s(), self._resume)

    def _resume(self) -> None:
        self._waits = False
        self._on_change()


def wanted(reader: Flow, writer: Flow) -> int:
    """The events that a socket waits for, which is the source of one flow and the sink of the other."""
    return (READ if reader.reads else 0) | (WRITE if writer.writes else 0)
