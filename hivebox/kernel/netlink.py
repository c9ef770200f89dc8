"""rtnetlink(7), the one message that is needed. An ioctl (SIOCADDRT) cannot make local routes, and a library for all of
netlink costs 300 ms at import."""

from __future__ import annotations

import _socket
import os
import struct

_RTM_NEWROUTE = 24
_REQUEST, _ACK, _CREATE, _EXCL = 1, 4, 0x400, 0x200
_TABLE_LOCAL, _PROTOCOL_BOOT, _SCOPE_HOST, _TYPE_LOCAL = 255, 3, 254, 2
_RTA_OIF, _LOOPBACK_INDEX = 4, 1
_ACK_ERROR = struct.Struct("=IHHIIi")


def add_local_default_route(family: int) -> None:
    """``ip route add local default dev lo``: every address of ``family`` becomes one of this namespace's own. Needs
    CAP_NET_ADMIN in it. Raises OSError."""
    route = struct.pack("=BBBBBBBBI", family, 0, 0, 0, _TABLE_LOCAL, _PROTOCOL_BOOT, _SCOPE_HOST, _TYPE_LOCAL, 0)
    attribute = struct.pack("=HHI", 8, _RTA_OIF, _LOOPBACK_INDEX)
    body = route + attribute
    flags = _REQUEST | _ACK | _CREATE | _EXCL
    message = struct.pack("=IHHII", 16 + len(body), _RTM_NEWROUTE, flags, 1, 0) + body
    link = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, 0)
    try:
        link.send(message)
        number = -_ACK_ERROR.unpack_from(link.recv(4096))[-1]
    finally:
        link.close()
    if number:
        raise OSError(number, os.strerror(number), "RTM_NEWROUTE(local default)")
