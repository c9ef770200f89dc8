"""What ``hivebox run`` says of the network at its end: each refusal, and the line of a profile that would allow it."""

from __future__ import annotations

from typing import Any

_MOST = 5


def remarks(network: dict[str, Any]) -> list[str]:
    """Lines for stderr; ``network`` is the report's."""
    if "error" in network:
        return [f"network: {network['error']}"]
    lines = []
    refused, failed = network["refused"], network["failed"]
    for event in refused[:_MOST]:
        lines.append(f"network: refused {_shown(event)}: {event['reason']}{_times(event)}")
        line = allowing(event)
        lines += [f"  to allow it, under network: allow:  - {line}"] if line else []
    lines += [f"network: failed {_shown(event)}: {event['reason']}{_times(event)}" for event in failed[:_MOST]]
    hidden = max(len(refused) - _MOST, 0) + max(len(failed) - _MOST, 0) + network["dropped"]["refused"]
    if hidden:
        lines.append(f"network: {hidden} more, in the report")
    return lines


def _shown(event: dict[str, Any]) -> str:
    if event["layer"] == "dns":
        return f"the name {event['name']}"
    return f"{event['name'] or event['address']} at {event['protocol']} port {event['port']}"


def _times(event: dict[str, Any]) -> str:
    return f" ({event['times']} times)" if event["times"] > 1 else ""


def allowing(event: dict[str, Any]) -> str:
    """The rule that would allow it; "" where none can, or where it is refused for what it is. A name that was not even
    looked up was tried at no port yet: 443 is the likely one."""
    if not event["reason"].startswith("no rule for"):
        return ""
    protocol = ", protocol: udp" if event["layer"] != "dns" and event["protocol"] == "udp" else ""
    port = 443 if event["layer"] == "dns" else event["port"]
    what = f"host: {event['name']}" if event["name"] else f"cidr: {_quoted(event['address'])}"
    return f"{{{what}, ports: [{port}]{protocol}}}"


def _quoted(address: str) -> str:
    return f'"{address}"' if ":" in address else address
