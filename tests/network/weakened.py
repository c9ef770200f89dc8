"""``hivebox`` with one control of the network removed: ``python -m tests.network.weakened CONTROL run ...``. The relay is
a fork of this process, and inherits what is patched here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from hivebox.cli.main import main
from hivebox.network import broker, responder, rules, tls
from hivebox.policy import hosts
from hivebox.policy.model import Allow

_ANYTHING = Allow(host="*", ports=(0,))


def _first_rule(self: rules.Rules, *_: Any) -> Allow:
    return self._hosts[0] if self._hosts else self._ranges[0][1]


CONTROLS: dict[str, Callable[[], Any]] = {
    "": lambda: patch.object(sys, "argv", sys.argv),
    "addresses": lambda: patch.object(rules, "special", lambda _: ""),
    "own_addresses": lambda: patch.object(broker, "is_own", lambda _: False),
    "first_bytes": lambda: patch.object(hosts, "inspection", lambda *_: hosts.NOTHING),
    "ech": lambda: patch.object(tls, "_ECH", -1),
    "retry": lambda: patch.object(tls, "asks_for_retry", lambda _: False),
    "names": lambda: patch.object(rules.Rules, "knows", lambda *_: True),
    "rule_by_name": lambda: patch.object(rules.Rules, "by_name", _first_rule),
    "rule_by_address": lambda: patch.object(rules.Rules, "by_address", _first_rule),
    "name_spelling": lambda: patch.object(responder.dns, "_name", lambda labels: b".".join(labels).decode("latin-1")),
    "connections": lambda: patch.object(broker.Broker, "_crowded", lambda *_: ""),
}

if __name__ == "__main__":
    _, control, *arguments = sys.argv
    with CONTROLS[control]():
        sys.exit(main(arguments))
