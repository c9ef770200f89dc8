"""The network: a namespace that is empty but for its own loopback. With an allowlist, and a relay outside that knows
it, the sandbox has listeners to which every address leads (hivebox/network/)."""

from __future__ import annotations

import _socket
import fcntl
import struct
import time

from hivebox.errors import HiveboxError
from hivebox.kernel.sysctl import write_sysctl
from hivebox.policy.model import Network as Values
from hivebox.steps.step import Step
from hivebox.waiting import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hivebox.network.process import Relay
    from hivebox.waiting import Waiting

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_FINISH_S = 20.0  # it has what a script flooded it with to tell first
_NONE = Values()
# What a connection can hold before anybody accepts it, when no control group counts it (supervise/unaccepted.py). The
# buffer grows as its owner reads, up to the kernel's default. SO_RCVBUF would do away with that:
# policy/syscall_filters.py answers it.
RECEIVE_BUFFER_BYTES = 64 << 10
_TCP_RMEM = f"4096 {RECEIVE_BUFFER_BYTES} {6 << 20}"


class Network(Step):
    """Programs that talk to themselves over 127.0.0.1 work. Without rules nothing else can be reached or even named;
    with them, what they name. A port of a rule is taken in the sandbox."""

    name = "network"

    def __init__(self, values: Values = _NONE, run_id: str = "") -> None:
        self._values = values
        self._run_id = run_id
        self._relay: Relay | None = None
        self._sandbox_fd = -1  # what the set-up needs of the relay

    def describe(self) -> dict[str, Any]:
        plain = {"interfaces": ["lo"], "receive_buffer_bytes": RECEIVE_BUFFER_BYTES}
        if not self._values.allow:
            return {"mode": "none", **plain}
        rules = [rule.text() for rule in self._values.allow]
        return {"mode": "allow", **plain, "allow": rules, "dns": list(self._values.dns) or "host"}

    # -- in the supervisor ---------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        if self._values.allow:
            # A run without rules imports none of it.
            from hivebox.network import listeners  # noqa: F401, PLC0415  # for the set-up, which imports nothing
            from hivebox.network.process import Relay  # noqa: PLC0415

            self._relay = Relay(self._run_id, self._values)
            self._sandbox_fd = self._relay.sandbox_fd

    def child_fds(self) -> tuple[int, ...]:
        return (self._sandbox_fd,) if self._sandbox_fd >= 0 else ()

    def __getstate__(self) -> dict[str, Any]:
        """For a sandbox that is not a copy of the supervisor (launch/zygote.py)."""
        return {**self.__dict__, "_relay": None}

    def attach(self, pid: int) -> None:  # noqa: ARG002  # a descriptor is all it needs
        if self._relay:
            self._relay.hand_over()
            self._sandbox_fd = -1

    @property
    def relay(self) -> Relay | None:
        """None without rules."""
        return self._relay

    def wait_ready(self) -> Waiting[None]:
        """Until the relay serves. Raises HiveboxError."""
        if not self._relay:
            return
        yield Wait(self._relay.fileno())
        if not self._relay.is_ready():
            raise HiveboxError(
                "cannot serve the network allowlist",
                "the relay's process ended while it started",
                "report this, with the output of `hivebox doctor`",
            )

    def finish(self) -> Waiting[dict[str, Any] | None]:
        """What happened on the network, when the payload has ended; None where there are no rules."""
        if not self._relay:
            return None
        lost = {"error": "the relay died, or did not answer: what happened on the network is not known"}
        self._relay.ask_summary()
        deadline = time.monotonic() + _FINISH_S
        while not self._relay.has_said_all() and time.monotonic() < deadline:
            yield Wait(self._relay.fileno(), max(deadline - time.monotonic(), 0.0))
        return self._relay.summary() or lost

    def release(self) -> None:
        if self._relay:
            self._relay.close()
            self._relay = None

    def set_up(self) -> None:
        _bring_up_loopback()
        write_sysctl("net/ipv4/tcp_rmem", _TCP_RMEM)
        if self._sandbox_fd >= 0:
            from hivebox.network import listeners  # noqa: PLC0415  # there already: see prepare

            listeners.hand_over(self._values.allow, self._sandbox_fd)


def _bring_up_loopback() -> None:
    probe = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    request = struct.pack("16sH14x", b"lo", 0)
    flags = struct.unpack("16sH14x", fcntl.ioctl(probe.fileno(), _SIOCGIFFLAGS, request))[1]
    fcntl.ioctl(probe.fileno(), _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
    probe.close()
