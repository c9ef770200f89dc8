"""Changing the signing key. The old key signs the record that names the new one; then the files change places. When
hivebox is killed in between, whoever appends next finds the record and finishes (``keys.take_over``)."""

from __future__ import annotations

import base64
import os

from hivebox.audit import keys, signers, statement
from hivebox.audit.keys import Signer
from hivebox.audit.ledger import Appended, Ledger
from hivebox.errors import HiveboxError


def rotate(state_dir: str, to: str, not_after: str) -> Signer:
    """``to`` is "" for a new key in a file, or a signer (``signers.from_argument``); ``not_after`` "" or a UTC time as
    in records. Raises HiveboxError."""
    if not_after and not_after <= statement.now().utc:
        raise HiveboxError("cannot rotate the signing key", f"{not_after} is past", "a day to come, or no last day")
    external = signers.from_argument(to) if to else None
    ledger = Ledger(state_dir)
    ledger.prepare()
    following = keys.prepare_next(state_dir, external)
    following.sign(b"hivebox: can it sign?")  # before the ledger depends on it
    public = base64.b64encode(following.public).decode()
    change = {"action": "rotate", "keyid": following.keyid, "not_after": not_after, "public": public}
    _append(ledger, following.keyid, change)
    return keys.take_over(state_dir, following.keyid)


def revoke(state_dir: str, beginning: str, reason: str) -> str:
    """The keyid that no record may be signed with from now on. Raises HiveboxError."""
    matching = [keyid for keyid in keys.public_keys(state_dir) if keyid.startswith(beginning)]
    if len(matching) != 1:
        raise HiveboxError(
            f"no key {beginning!r}", f"{len(matching)} of this user's begin so", "see hivebox audit key list"
        )
    (keyid,) = matching
    if keys.load_signer(state_dir).keyid == keyid:
        raise HiveboxError("cannot revoke the key in use", keyid, "first: hivebox audit key rotate")
    _append(Ledger(state_dir), keyid, {"action": "revoke", "keyid": keyid, "reason": reason})
    keys.mark_revoked(state_dir, keyid)
    return keyid


def _append(ledger: Ledger, keyid: str, change: dict[str, str]) -> Appended:
    return ledger.append("key", "key-" + os.urandom(8).hex(), [("key", keyid)], {"key": change})
