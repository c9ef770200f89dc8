"""Which keys a verification trusts, and from which record to which. Pure.

It starts with the keys that the auditor gives. A ``key`` record signed by a trusted key may hand over to another
(``rotate``: from the next record on the old one is *expired*) or take the trust from one (``revoke``).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hivebox.audit import envelope, note
from hivebox.audit.envelope import RuleError
from hivebox.audit.keys import keyid_of


class _Trust(NamedTuple):
    key: Ed25519PublicKey
    public: bytes
    ended: tuple[str, str] | None = None  # the rule that its further records break, and why
    not_after: str = ""


class Keyring:
    """``public_keys`` maps keyid to 32 bytes."""

    def __init__(self, public_keys: Mapping[str, bytes]) -> None:
        self._trusted = {keyid: _trust(public) for keyid, public in public_keys.items()}

    def admit(self, keyid: str, utc: str) -> None:
        """Raises RuleError unless a record of that time may be signed with this key: ``key``, ``expired``,
        ``revoked``."""
        trust = self._trusted.get(keyid)
        if trust is None:
            raise RuleError("key", "one of " + (", ".join(self._trusted) or "no keys"), keyid)
        if trust.ended:
            raise RuleError(trust.ended[0], trust.ended[1], keyid)
        if trust.not_after and utc > trust.not_after:
            raise RuleError("expired", f"a record of {trust.not_after} at the latest", utc)

    def check(self, opened: envelope.Envelope) -> None:
        """Raises RuleError unless that key signed the envelope."""
        trust = self._trusted.get(opened.keyid)
        if trust is None:
            raise RuleError("key", "one of " + (", ".join(self._trusted) or "no keys"), opened.keyid)
        try:
            trust.key.verify(opened.signature, envelope.pae(opened.payload))
        except InvalidSignature as error:
            raise RuleError("signature", f"a signature by {opened.keyid}", "another") from error

    def follow(self, change: Any, signer: str) -> None:
        """What a verified ``key`` record of ``signer`` says. Raises RuleError for one that says nothing known."""
        action = change.get("action") if isinstance(change, Mapping) else None
        keyid = change.get("keyid") if isinstance(change, Mapping) else None
        if action == "rotate" and isinstance(change.get("public"), str):
            self._rotate(change, signer)
        elif action == "revoke" and isinstance(keyid, str):
            if keyid in self._trusted:
                self._trusted[keyid] = self._trusted[keyid]._replace(ended=("revoked", "a key that was not revoked"))
        else:
            raise RuleError("keys", "an action rotate or revoke", repr(action))

    def signed(self, checkpoint: note.Checkpoint) -> bool:
        """Whether a trusted key that was not revoked signed it."""
        return any(
            note.signed_by(checkpoint, note.Verifier(checkpoint.origin, note.ED25519, trust.public)) is not None
            for trust in self._trusted.values()
            if trust.ended is None or trust.ended[0] != "revoked"
        )

    def _rotate(self, change: Mapping[str, Any], signer: str) -> None:
        try:
            public = base64.b64decode(change["public"], validate=True)
            new = _trust(public)._replace(not_after=str(change.get("not_after") or ""))
        except ValueError as error:
            raise RuleError("keys", "an Ed25519 public key in base64", str(error)) from error
        if keyid_of(public) != change.get("keyid"):
            raise RuleError("keys", f"keyid {keyid_of(public)}", repr(change.get("keyid")))
        self._trusted[signer] = self._trusted[signer]._replace(ended=("expired", "a key that was not replaced"))
        self._trusted[keyid_of(public)] = new


def _trust(public: bytes) -> _Trust:
    return _Trust(Ed25519PublicKey.from_public_bytes(public), public)
