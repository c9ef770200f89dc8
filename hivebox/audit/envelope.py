"""DSSE: the signed wrapping of one statement (https://github.com/secure-systems-lab/dsse, protocol.md).

Hivebox's profile of it is narrower than the standard: canonical JSON, standard base64 with padding, exactly one
signature, so that one record has one byte form and nobody can add to a line without breaking it.
"""

from __future__ import annotations

import binascii

from hivebox.audit import canonical
from hivebox.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

PAYLOAD_TYPE = "application/vnd.in-toto+json"
SIGNATURE_BYTES = 64
MAX_LINE_BYTES = 16 << 20  # with its newline: bounds what a reader must hold
_LONGEST_QUOTE = 180  # characters; a hostile line may have 16 MiB of them in any field


class Envelope(Frozen):
    """``payload`` is the statement's canonical JSON; ``keyid`` is 64 hex digits; ``signature`` 64 bytes, unchecked."""

    payload: bytes
    keyid: str
    signature: bytes


class RuleError(ValueError):
    """Bytes that break one rule of docs/audit-format.md."""

    def __init__(self, rule: str, expected: str, got: str) -> None:
        self.rule = rule
        self.expected = expected
        self.got = quoted(got)
        super().__init__(f"{rule}: expected {expected}, got {self.got}")


def quoted(text: str) -> str:
    """Short enough for a message."""
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "..."


def pae(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: the bytes that are signed. Binds the payload to its type."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def seal(payload: bytes, keyid: str, signature: bytes) -> bytes:
    """One ledger line, without its newline."""
    # Canonical JSON by hand: no base64 or hex digit needs an escape.
    fields = (_to_base64(payload), PAYLOAD_TYPE, keyid, _to_base64(signature))
    return b'{"payload":"%b","payloadType":"%b","signatures":[{"keyid":"%b","sig":"%b"}]}' % tuple(
        field.encode("ascii") for field in fields
    )


def unseal(line: bytes) -> Envelope:
    """``line`` has no newline. The signature is not verified here. Raises RuleError."""
    try:
        outer = canonical.decode(line)
    except canonical.NotCanonicalError as error:
        raise RuleError("envelope", "canonical JSON", str(error)) from error
    fields = require_fields("envelope", outer, {"payload": str, "payloadType": str, "signatures": list})
    if fields["payloadType"] != PAYLOAD_TYPE:
        raise RuleError("envelope", f"payloadType {PAYLOAD_TYPE}", repr(fields["payloadType"]))
    if len(fields["signatures"]) != 1:
        raise RuleError("envelope", "one signature", str(len(fields["signatures"])))
    signed = require_fields("envelope", fields["signatures"][0], {"keyid": str, "sig": str})
    signature = _from_base64(signed["sig"], "sig")
    if len(signature) != SIGNATURE_BYTES:
        raise RuleError("envelope", f"a signature of {SIGNATURE_BYTES} bytes", str(len(signature)))
    return Envelope(_from_base64(fields["payload"], "payload"), signed["keyid"], signature)


def require_fields(rule: str, value: Any, types: Mapping[str, type]) -> dict[str, Any]:
    """``value`` as an object with exactly these fields of exactly these types (a bool is not an int)."""
    if not isinstance(value, dict):
        raise RuleError(rule, "an object", type(value).__name__)
    if value.keys() != types.keys():
        raise RuleError(rule, "the fields " + ", ".join(sorted(types)), ", ".join(sorted(value)) or "none")
    for name, kind in types.items():
        if type(value[name]) is not kind:
            raise RuleError(rule, f"{name} as {kind.__name__}", type(value[name]).__name__)
    return value


def _to_base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def _from_base64(text: str, name: str) -> bytes:
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise RuleError("envelope", f"{name} in base64", str(error)) from error
    if _to_base64(data) != text:  # spare bits after the last byte would let a line change without its meaning
        raise RuleError("envelope", f"{name} in base64 with zero spare bits", text[-4:])
    return data
