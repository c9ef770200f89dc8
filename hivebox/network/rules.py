"""The rules of one run, asked by name, by address and by port. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from hivebox.network.addresses import Address, Range, names_special, special
from hivebox.policy.hosts import matches
from hivebox.policy.model import Allow


class Rules:
    """First match wins, in the order in which they are written."""

    def __init__(self, allow: tuple[Allow, ...]) -> None:
        self._hosts = tuple(rule for rule in allow if rule.host)
        self._ranges: tuple[tuple[Range, Allow], ...] = tuple(
            (ipaddress.ip_network(rule.cidr), rule) for rule in allow if rule.cidr
        )

    def knows(self, name: str) -> bool:
        """Whether ``name`` may be looked up at all."""
        return any(matches(rule.host, name) for rule in self._hosts)

    def by_name(self, name: str, port: int, protocol: str) -> Allow | None:
        """The rule for a name (canonical)."""
        for rule in self._hosts:
            if rule.protocol == protocol and port in rule.ports and matches(rule.host, name):
                return rule
        return None

    def by_address(self, address: Address, port: int, protocol: str) -> Allow | None:
        """The rule that names an address: a special one only in a range that is special itself."""
        return next((rule for _, rule in self._naming(address, port, protocol)), None)

    def exactly(self, address: Address, port: int, protocol: str) -> bool:
        """Whether a rule names this one address, and not a range around it."""
        return any(network.num_addresses == 1 for network, _ in self._naming(address, port, protocol))

    def _naming(self, address: Address, port: int, protocol: str) -> Iterator[tuple[Range, Allow]]:
        """A mapped or translated address is never looked through: it is its own, and special."""
        is_special = bool(special(address))
        for network, rule in self._ranges:
            named = rule.protocol == protocol and port in rule.ports and address in network
            if named and (not is_special or names_special(network)):
                yield network, rule

    def refusal(self, address: Address, port: int, protocol: str) -> str:
        """Why a name that leads to ``address`` may not be followed there, or "" where it may."""
        why = special(address)
        return "" if not why or self.by_address(address, port, protocol) else f"leads to {address}: {why}"
