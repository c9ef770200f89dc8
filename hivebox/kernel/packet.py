"""packet(7) with a filter: the attempts that no listener takes. bpf(4)."""

from __future__ import annotations

import _socket
import struct

from hivebox.kernel.foreign import Short, String, Structure

_ETH_P_IP, _ETH_P_IPV6 = 0x0800, 0x86DD
_SOL_PACKET, _PACKET_STATISTICS, _SO_ATTACH_FILTER = 263, 6, 26
_TCP, _UDP, _SYN, _SYN_OR_ACK = 6, 17, 0x02, 0x12
_LOAD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_LOAD_HALF_X, _LOAD_BYTE_X, _HEADER_LENGTH = 0x48, 0x50, 0xB1
_AND, _EQUAL, _RETURN = 0x54, 0x15, 0x06
SNAP_SIZE = 64  # an IPv6 header and the ports after it

_Program = list[tuple[int, int, int, int]]


def _drop_if(value: int) -> _Program:
    return [(_EQUAL, 0, 1, value), (_RETURN, 0, 0, 0)]


def _take_syn(load_flags: _Program) -> _Program:
    taken = [(_AND, 0, 0, _SYN_OR_ACK), (_EQUAL, 0, 1, _SYN), (_RETURN, 0, 0, SNAP_SIZE), (_RETURN, 0, 0, 0)]
    return load_flags + taken


def _transport(
    load_protocol: _Program, flags: _Program, ports: tuple[_Program, _Program], own: tuple[int, ...]
) -> _Program:
    """Of TCP the opening packet; of UDP what neither comes from nor goes to one of ``own`` ports. No other protocol:
    they are the kernel's own answers."""
    tcp = _take_syn(flags)
    udp = [step for load in ports for step in (*load, *(each for port in own for each in _drop_if(port)))]
    return [
        *load_protocol,
        (_EQUAL, 0, len(tcp), _TCP),
        *tcp,
        (_EQUAL, 0, len(udp) + 1, _UDP),
        *udp,
        (_RETURN, 0, 0, SNAP_SIZE),
        (_RETURN, 0, 0, 0),
    ]


def _ipv4(own: tuple[int, ...]) -> _Program:
    network = [(_LOAD_BYTE, 0, 0, 16), *_drop_if(127)]
    offset = (_HEADER_LENGTH, 0, 0, 0)
    ports = ([offset, (_LOAD_HALF_X, 0, 0, 0)], [offset, (_LOAD_HALF_X, 0, 0, 2)])
    return network + _transport([(_LOAD_BYTE, 0, 0, 9)], [offset, (_LOAD_BYTE_X, 0, 0, 13)], ports, own)


def _ipv6(own: tuple[int, ...]) -> _Program:
    """Without ::1 as destination."""
    loopback: _Program = []
    for index, (at, value) in enumerate(((24, 0), (28, 0), (32, 0), (36, 1))):
        loopback += [(_LOAD, 0, 0, at), (_EQUAL, 0, 2 * (3 - index) + 1, value)]
    ports = ([(_LOAD_HALF, 0, 0, 40)], [(_LOAD_HALF, 0, 0, 42)])
    network = [*loopback, (_RETURN, 0, 0, 0)]
    return network + _transport([(_LOAD_BYTE, 0, 0, 6)], [(_LOAD_BYTE, 0, 0, 53)], ports, own)


class _Filter(Structure):
    _fields_ = (("size", Short), ("program", String))


def open_watcher(family: int, own_udp_ports: tuple[int, ...]) -> _socket.socket:
    """A packet socket on ``lo`` that receives the first SNAP_SIZE bytes of what starts a conversation: IP header
    first. Needs CAP_NET_RAW. Raises OSError."""
    protocol = _ETH_P_IP if family == _socket.AF_INET else _ETH_P_IPV6
    watcher = _socket.socket(
        _socket.AF_PACKET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0
    )  # 0: nothing before the filter
    steps = _ipv4(own_udp_ports) if family == _socket.AF_INET else _ipv6(own_udp_ports)
    program = b"".join(struct.pack("=HBBI", *step) for step in steps)
    held = _Filter(len(steps), program)
    watcher.setsockopt(_socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(held))
    watcher.bind(("lo", protocol))
    return watcher


def dropped(watcher: _socket.socket) -> int:
    """Packets lost since the last call, because they came faster than they were read."""
    lost: int = struct.unpack("=II", watcher.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1]
    return lost
