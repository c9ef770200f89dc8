"""No network: the namespace is empty but for its own loopback, which is brought up."""

from __future__ import annotations

import _socket
import fcntl
import struct

from hivebox.steps.step import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


class Network(Step):
    """Programs that talk to themselves over 127.0.0.1 work; nothing else can be reached or even named."""

    name = "network"

    def describe(self) -> dict[str, Any]:
        return {"mode": "none", "interfaces": ["lo"]}

    def apply_init(self) -> None:
        probe = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(probe.fileno(), _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(probe.fileno(), _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
        probe.close()
