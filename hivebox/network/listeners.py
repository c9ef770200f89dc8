"""What init opens in the sandbox: a name server's sockets, a listener for every port of a rule, and eyes for the rest.

Imported by the supervisor, before init exists: nothing is imported there.
"""

from __future__ import annotations

import _socket
import array
import errno
from collections.abc import Iterator

from hivebox import plainjson
from hivebox.kernel import netlink, packet, sock_diag
from hivebox.policy.model import Allow

_DNS_PORT, _BACKLOG = 53, 1024
_IP_PKTINFO, _IPV6_RECVPKTINFO, _IPV6_FREEBIND = 8, 49, 78
# A kernel or host without IPv6: names then have IPv4 addresses only.
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EACCES, errno.ENODEV, errno.EOPNOTSUPP}

Opened = tuple[str, str, int, _socket.socket]  # kind, protocol, port (broker.Bound)


def hand_over(allow: tuple[Allow, ...], sandbox_fd: int) -> None:
    """Open them, send them to the relay, close them: what becomes the payload has none. Needs CAP_NET_ADMIN,
    CAP_NET_RAW and CAP_NET_BIND_SERVICE in the sandbox's namespace. Raises OSError."""
    opened: list[Opened] = []
    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            opened += _open_family(family, tuple(_ports(allow)))
        except OSError as error:
            if family == _socket.AF_INET or error.errno not in _NO_IPV6:
                raise
    opened.append(("diag", "", 0, sock_diag.open_diag()))
    channel = _socket.socket(fileno=sandbox_fd)
    facts = [(kind, protocol, port) for kind, protocol, port, _ in opened]
    handles = array.array("i", [held.fileno() for *_, held in opened])
    channel.sendmsg([plainjson.dumps(facts).encode()], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, handles)])
    channel.close()
    for *_, held in opened:
        held.close()


def _ports(allow: tuple[Allow, ...]) -> Iterator[tuple[str, int]]:
    yield from dict.fromkeys((rule.protocol, port) for rule in allow for port in rule.ports)


def _open_family(family: int, ports: tuple[tuple[str, int], ...]) -> list[Opened]:
    """All addresses of ``family`` lead here, and none out. Watched before anything can be tried."""
    own, loopback = ("0.0.0.0", "127.0.0.1") if family == _socket.AF_INET else ("::", "::1")  # noqa: S104
    netlink.add_local_default_route(family)
    udp_ports = tuple(port for protocol, port in ports if protocol == "udp")
    return [
        ("watch", "", 0, packet.open_watcher(family, udp_ports)),
        *(("dns", protocol, _DNS_PORT, _bind(family, protocol, loopback, _DNS_PORT)) for protocol in ("udp", "tcp")),
        *(("listen", protocol, port, _bind(family, protocol, own, port)) for protocol, port in ports),
    ]


def _bind(family: int, protocol: str, address: str, port: int) -> _socket.socket:
    """A listener, or a socket for datagrams that says to which address each was sent."""
    kind = _socket.SOCK_STREAM if protocol == "tcp" else _socket.SOCK_DGRAM
    bound = _socket.socket(family, kind | _socket.SOCK_CLOEXEC)
    if family == _socket.AF_INET6:
        bound.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
    if protocol == "udp" and family == _socket.AF_INET:
        bound.setsockopt(_socket.IPPROTO_IP, _IP_PKTINFO, 1)
    elif protocol == "udp":
        bound.setsockopt(_socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        bound.setsockopt(_socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)  # answers come from any address
    if port == _DNS_PORT:  # a rule for it, beside the name server's own: below 1024 the script cannot join them
        bound.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)
    bound.bind((address, port))
    if protocol == "tcp":
        bound.listen(_BACKLOG)
    return bound
