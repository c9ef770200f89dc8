"""One direction of a connection, between real sockets."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from hivebox.loop import Loop
from hivebox.network.relay import Budget, Flow, Pipes
from hivebox.policy.model import Allow


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        return client, listener.accept()[0]


class Ends:
    """``writer`` -> flow -> ``reader``."""

    def __init__(self, rule: Allow) -> None:
        self.writer, source = connected()
        sink, self.reader = connected()
        for end in (source, sink):
            end.setblocking(False)
        self.source, self.sink = source, sink
        self.reader.settimeout(5)
        loop = Loop()
        self.pipes = Pipes()
        self.flow = Flow(loop, self.pipes, Budget(loop, rule), (source, sink), lambda: None)

    def close(self) -> None:
        self.flow.close()
        for end in (self.writer, self.source, self.sink, self.reader):
            end.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends(Allow(host="a.example", ports=(80,)))
    yield made
    made.close()


def test_bytes_and_the_end_are_passed_on(ends: Ends) -> None:
    ends.writer.sendall(b"hello")
    ends.writer.shutdown(socket.SHUT_WR)
    ends.flow.move()
    assert (ends.reader.recv(100), ends.reader.recv(100)) == (b"hello", b"")
    assert ends.flow.done and ends.flow.total == 5


def test_an_end_for_a_side_that_was_reset_is_no_error(ends: Ends) -> None:
    """shutdown(2) then says ENOTCONN: the connection was reset, by its other end or by the end of the run."""
    ends.reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
    ends.reader.close()
    with pytest.raises(OSError, match="not connected"):
        ends.sink.shutdown(socket.SHUT_RD)
    ends.writer.shutdown(socket.SHUT_WR)
    ends.flow.move()
    assert ends.flow.done


def test_bytes_for_a_side_that_was_reset_are_one(ends: Ends) -> None:
    ends.reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
    ends.reader.close()
    ends.writer.sendall(b"x")
    with pytest.raises(OSError, match=r"Broken pipe|Connection reset"):
        ends.flow.move()


def test_what_is_looked_at_passes_as_it_was_answered(ends: Ends) -> None:
    ends.flow.look = lambda data: data.upper() or b"!"
    ends.writer.sendall(b"hello")
    ends.writer.shutdown(socket.SHUT_WR)
    ends.flow.move()
    assert ends.reader.recv(100) + ends.reader.recv(100) == b"HELLO!"
    assert ends.flow.done and ends.flow.total == 6


def test_a_reader_that_does_not_read_stops_the_writer(ends: Ends) -> None:
    """And no pipe is lost: what is in it is passed on later."""
    ends.writer.setblocking(False)
    sent = 0
    for _ in range(1000):
        try:
            sent += ends.writer.send(bytes(1 << 16))
        except BlockingIOError:
            if not ends.flow.reads:
                break
        ends.flow.move()
    assert ends.flow.writes and not ends.flow.reads
    received = 0
    while received < sent:
        received += len(ends.reader.recv(1 << 20))
        ends.flow.drain()
        if ends.flow.reads:
            ends.flow.move()
    assert ends.flow.total == sent


def test_no_more_than_max_bytes(ends: Ends) -> None:
    limited = Ends(Allow(host="a.example", ports=(80,), max_bytes=10))
    limited.writer.sendall(bytes(100))
    limited.flow.move()
    limited.flow.move()
    assert limited.flow.exhausted and limited.flow.total == 10
    limited.close()
