"""Signed notes and checkpoints, as in https://c2sp.org/signed-note, /tlog-checkpoint and /tlog-cosignature. Pure.

A checkpoint says: this ledger (``origin``) had ``size`` records, and this was the root of their tree. Its first
signature is the ledger key's; those of witnesses follow, each with the time at which the witness saw it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import NamedTuple

ED25519, COSIGNATURE = 1, 4
_EM_DASH = "\u2014"
_LARGEST_NOTE = 1 << 20


class NoteError(ValueError):
    """Bytes that are not a signed note, a checkpoint or a key."""


class Verifier(NamedTuple):
    """A public key under a name: ``kind`` is ED25519 for a ledger's own, COSIGNATURE for a witness's."""

    name: str
    kind: int
    public: bytes

    @property
    def key_hash(self) -> bytes:
        """The first four bytes of SHA-256(name, newline, kind, key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_hash.hex()}+{encoded}"


class Signature(NamedTuple):
    """One signature line: ``raw`` is what follows the key hash."""

    name: str
    key_hash: bytes
    raw: bytes

    def line(self) -> str:
        """With its newline."""
        return f"{_EM_DASH} {self.name} {base64.b64encode(self.key_hash + self.raw).decode()}\n"


class Checkpoint(NamedTuple):
    """``text`` is what is signed, its last newline included."""

    origin: str
    size: int
    root: bytes
    text: bytes
    signatures: tuple[Signature, ...]

    def note(self) -> bytes:
        """The whole signed note."""
        return self.text + b"\n" + "".join(signature.line() for signature in self.signatures).encode()

    def with_signatures(self, more: tuple[Signature, ...]) -> Checkpoint:
        """Once each, those it has first."""
        return self._replace(signatures=tuple(dict.fromkeys((*self.signatures, *more))))


def make(origin: str, size: int, root: bytes, public: bytes, sign: Callable[[bytes], bytes]) -> Checkpoint:
    """A checkpoint with the ledger key's signature; ``origin`` is the key's name too."""
    text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n".encode()
    signature = Signature(origin, Verifier(origin, ED25519, public).key_hash, sign(text))
    return Checkpoint(origin, size, root, text, (signature,))


def parse(note: bytes) -> Checkpoint:
    """Raises NoteError. Signatures are not verified here."""
    if len(note) > _LARGEST_NOTE:
        raise NoteError(f"a note of {len(note)} bytes")
    try:
        content = note.decode()
        text, blank, rest = content.rpartition("\n\n")
        origin, size, root = (*text.split("\n"), "", "")[:3]
        digest = base64.b64decode(root, validate=True)
        if not blank or not origin or not size.isascii() or not size.isdigit() or str(int(size)) != size:
            raise NoteError("not a checkpoint: origin, size and root, an empty line, signatures")
        if len(digest) != 32 or base64.b64encode(digest).decode() != root:
            raise NoteError("the root is not 32 bytes in base64")
    except NoteError:
        raise
    except ValueError as error:
        raise NoteError(f"not a checkpoint: {error}") from error
    return Checkpoint(origin, int(size), digest, (text + "\n").encode(), parse_signatures(rest))


def parse_signatures(lines: str) -> tuple[Signature, ...]:
    """Signature lines, each with its newline. Raises NoteError."""
    signatures = []
    for line in lines.splitlines(keepends=True):
        dash, _, rest = line.removesuffix("\n").partition(" ")
        name, _, encoded = rest.partition(" ")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise NoteError(f"a signature that is not base64: {error}") from error
        if dash != _EM_DASH or not name or "+" in name or len(raw) < 5 or not line.endswith("\n"):
            raise NoteError("a line that is not a signature")
        signatures.append(Signature(name, raw[:4], raw[4:]))
    if not signatures:
        raise NoteError("no signature")
    return tuple(signatures)


def parse_verifier(vkey: str) -> Verifier:
    """``name+hash+key``, as witnesses publish it. Raises NoteError."""
    try:
        name, key_hash, encoded = vkey.strip().split("+", 2)
        raw = base64.b64decode(encoded, validate=True)
        verifier = Verifier(name, raw[0], raw[1:])
    except (ValueError, IndexError) as error:
        raise NoteError(f"not a verifier key (name+hash+base64): {vkey!r}") from error
    if verifier.kind not in (ED25519, COSIGNATURE) or len(verifier.public) != 32 or verifier.key_hash.hex() != key_hash:
        raise NoteError(f"not an Ed25519 verifier key, or its hash is wrong: {vkey!r}")
    return verifier


def signed_by(checkpoint: Checkpoint, verifier: Verifier) -> int | None:
    """None unless ``verifier`` signed it; else the time of its cosignature in Unix seconds, 0 for a plain signature."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    key = Ed25519PublicKey.from_public_bytes(verifier.public)
    for signature in checkpoint.signatures:
        if (signature.name, signature.key_hash) != (verifier.name, verifier.key_hash):
            continue
        seconds, raw, message = 0, signature.raw, checkpoint.text
        if verifier.kind == COSIGNATURE:
            seconds, raw = int.from_bytes(raw[:8], "big"), raw[8:]
            message = cosigned(checkpoint.text, seconds)
        try:
            key.verify(raw, message)
        except InvalidSignature:
            continue
        return seconds
    return None


def cosigned(text: bytes, seconds: int) -> bytes:
    """What a witness signs (tlog-cosignature)."""
    return f"cosignature/v1\ntime {seconds}\n".encode() + text
