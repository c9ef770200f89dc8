"""What a connection, or a datagram, was meant for."""

from __future__ import annotations

from hivebox.frozen import Frozen
from hivebox.network.addresses import Address
from hivebox.network.events import Attempt
from hivebox.policy.model import Allow


class Target(Frozen):
    """A name, or for a rule about addresses ("" then) the address itself; with the rule that allows it. ``caller``
    is as in events.Attempt."""

    name: str
    address: Address | None
    port: int
    rule: Allow
    caller: int = 0

    def attempt(self, layer: str, address: str = "") -> Attempt:
        """For an event; ``address`` is where it led."""
        shown = address or (str(self.address) if self.address else "")
        return Attempt(layer, self.name, shown, self.port, self.rule.protocol, self.rule.text(), self.caller)
