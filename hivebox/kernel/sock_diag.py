"""sock_diag(7): which socket of a network namespace speaks from one address to another."""

from __future__ import annotations

import _socket
import struct

_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _REQUEST = 4, 20, 1
_HEADER = struct.Struct("=IHHII")
_IDENTITY = struct.Struct(">HH16s16s")  # ports and addresses are in network order, and the rest of it is not
_ANY_COOKIE = b"\xff" * 8
_INODE_AT = _HEADER.size + 4 + 48 + 16
_UDP = 17

Place = tuple[bytes, int]  # packed address, port


def open_diag() -> _socket.socket:
    """For the namespace of the caller, wherever it is used later. Raises OSError."""
    return _socket.socket(_socket.AF_NETLINK, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)


def socket_inode(diag: _socket.socket, protocol: int, local: Place, remote: Place) -> int:
    """The inode of the socket with these ends, as /proc/PID/fd shows it; 0 where there is none, or none any more."""
    first, second = (remote, local) if protocol == _UDP else (local, remote)  # so it is in the kernel
    family = _socket.AF_INET6 if len(local[0]) == 16 else _socket.AF_INET
    identity = _IDENTITY.pack(first[1], second[1], first[0].ljust(16, b"\0"), second[0].ljust(16, b"\0"))
    body = struct.pack("=BBBBI", family, protocol, 0, 0, 0xFFFFFFFF) + identity + bytes(4) + _ANY_COOKIE
    try:
        diag.send(_HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST, 0, 0) + body)
        answer = diag.recv(4096, _socket.MSG_DONTWAIT)
    except OSError:
        return 0
    if len(answer) < _INODE_AT + 4 or _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return 0
    inode: int = struct.unpack_from("=I", answer, _INODE_AT)[0]
    return inode
