"""Messages with descriptors: between the supervisor and the sandbox's own processes until the payload starts, and
between the service, its callers and its recorder."""

from __future__ import annotations

import _socket
import os
import struct

from hivebox import plainjson
from hivebox.errors import HiveboxError
from hivebox.frozen import Frozen
from hivebox.kernel.write import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_MAX_MESSAGE = 64 << 10
_MAX_FDS = 64
_LONGEST_TEXT = 2048
_IN_MEMFD = b"m"  # instead of the message: it is in the first descriptor


class Message(Frozen):
    """``kind`` names it; descriptors belong to the receiver."""

    kind: str
    body: dict[str, Any]
    fds: tuple[int, ...]
    pid: int


class Channel:
    """One end. Not thread-safe, blocking."""

    def __init__(self, socket: _socket.socket) -> None:
        self.socket = socket

    @classmethod
    def on(cls, handle: int) -> Channel:
        """A channel on a descriptor that already is one end."""
        return cls(_socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, handle))

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """(supervisor's, sandbox's). The first receives the sender's pid as the kernel attests it."""
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        ours.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        return cls(ours), cls(theirs)

    def fileno(self) -> int:
        """For epoll and for the list of descriptors to keep."""
        return self.socket.fileno()

    def send(self, kind: str, body: dict[str, Any] | None = None, fds: tuple[int, ...] = ()) -> None:
        """sendmsg(2) of one message, of any size. Raises OSError when the peer is gone."""
        data = plainjson.dumps([kind, body or {}]).encode()
        if len(data) <= _MAX_MESSAGE:
            self._send(data, fds)
            return
        handle = os.memfd_create("message", os.MFD_CLOEXEC)
        try:
            write_all(handle, data)
            self._send(_IN_MEMFD, (handle, *fds))
        finally:
            os.close(handle)

    def _send(self, data: bytes, fds: tuple[int, ...]) -> None:
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
        self.socket.sendmsg([data], ancillary)

    def receive(self) -> Message | None:
        """recvmsg(2); None at the end, when every holder of the other end has closed it."""
        try:
            data, ancillary = self._receive()
        except ConnectionResetError:
            # The other end died with something unread. The kernel says so once, before what it had sent itself.
            data, ancillary = self._receive()
        if not data:
            return None
        fds: Sequence[int] = ()
        pid = 0
        for _level, kind, content in ancillary:
            count = len(content) // 4
            numbers = struct.unpack_from(f"{count}i", content)
            if kind == _socket.SCM_RIGHTS:
                fds = numbers
            elif kind == _socket.SCM_CREDENTIALS:
                pid = numbers[0]
        if data == _IN_MEMFD:
            handle, *fds = fds
            data = os.pread(handle, os.fstat(handle).st_size, 0)
            os.close(handle)
        name, body = plainjson.loads(data)
        return Message(name, body, tuple(fds), pid)

    def _receive(self) -> tuple[bytes, list[tuple[int, int, bytes]]]:
        size = _socket.CMSG_SPACE(_MAX_FDS * 4) + _socket.CMSG_SPACE(12)
        data, ancillary, _flags, _address = self.socket.recvmsg(_MAX_MESSAGE, size, _socket.MSG_CMSG_CLOEXEC)
        return data, ancillary

    def has_message(self) -> bool:
        """True when ``receive`` would not block, at the end too."""
        try:
            self.socket.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except ConnectionResetError:  # said once, and then what is there
            return True
        return True

    def peer_is_gone(self) -> bool:
        """True when every holder of the other end has closed it."""
        try:
            return not self.socket.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False

    def close(self) -> None:
        self.socket.close()


def error_body(error: HiveboxError) -> dict[str, Any]:
    """A HiveboxError as a message body: short enough for a pipe that nobody reads yet, whatever a script is called."""
    texts = {"what": error.what, "why": error.why, "hint": error.hint}
    return {**{name: text[:_LONGEST_TEXT] for name, text in texts.items()}, "exit_code": error.exit_code}


def body_error(body: dict[str, Any]) -> HiveboxError:
    """The inverse of ``error_body``."""
    return HiveboxError(body["what"], body["why"], body["hint"], exit_code=int(body["exit_code"]))
