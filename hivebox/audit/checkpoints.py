"""Checkpoints of this ledger: made, kept in ``audit/checkpoints/<size>.note``, shown to witnesses.

Nothing is signed that was not verified: a checkpoint vouches for every record that it covers, so the records since the
last one are verified first. ``audit/tree`` remembers where that ended; without it, it is all of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

from hivebox.audit import keys, note, segments, tree, verify
from hivebox.audit.custody import open_private_dir, write_new
from hivebox.audit.keyring import Keyring
from hivebox.audit.keys import Signer
from hivebox.audit.rules import ERROR
from hivebox.errors import HiveboxError

_DIRECTORY = "checkpoints"
_LONGEST_NOTE = 1 << 20
_TREE = "tree"
_WITNESSES = "witnesses"


def make(state_dir: str, signer: Signer) -> note.Checkpoint:
    """Of everything written so far. Raises HiveboxError when that is not what hivebox wrote."""
    audit_dir = os.path.join(state_dir, "audit")
    seed = _read_seed(state_dir)
    lines = segments.read_lines(audit_dir, after_seq=seed.seq if seed else -1)
    public_keys = keys.public_keys(state_dir, revoked=seed is None)
    verifier = verify.Verifier(public_keys, verify.Evidence(seed=seed, alone=True))
    for line in lines:
        verifier.feed(line)
    bad = [found for found in verifier.finish().findings if found.severity == ERROR]
    seed = verifier.seed()
    if bad or seed is None:
        why = f"{bad[0].rule}: expected {bad[0].expected}, got {bad[0].got}" if bad else "it has no records"
        raise HiveboxError("cannot vouch for the ledger", why, "look with hivebox audit verify")
    frontier = tree.Frontier(seed.seq + 1, seed.hashes)
    checkpoint = note.make(seed.origin, frontier.size, frontier.root(), signer.public, signer.sign)
    keep(state_dir, checkpoint)
    _write_seed(state_dir, seed)
    return checkpoint


def keep(state_dir: str, checkpoint: note.Checkpoint) -> note.Checkpoint:
    """Write it, with the cosignatures that an earlier copy has. Durable when it returns."""
    os.close(open_private_dir(state_dir, "audit"))
    dir_fd = open_private_dir(os.path.join(state_dir, "audit"), _DIRECTORY)
    name = f"{checkpoint.size:020d}.note"
    try:
        for known in _parsed(_read_notes(state_dir, [name])):
            if known.text == checkpoint.text:
                checkpoint = known.with_signatures(checkpoint.signatures)
        _replace(dir_fd, name, checkpoint.note())
    finally:
        os.close(dir_fd)
    return checkpoint


def load(state_dir: str) -> list[bytes]:
    """The notes as they are, smallest first."""
    directory = os.path.join(state_dir, "audit", _DIRECTORY)
    if not os.path.isdir(directory):
        return []
    return _read_notes(state_dir, sorted(name for name in os.listdir(directory) if not name.startswith(".")))


def _read_notes(state_dir: str, names: list[str]) -> list[bytes]:
    """Of those that are there."""
    notes = []
    for name in names:
        path = os.path.join(state_dir, "audit", _DIRECTORY, name)
        if name.endswith(".note") and os.path.exists(path):
            with open(path, "rb") as file:
                notes.append(file.read(_LONGEST_NOTE))
    return notes


def all_leaves(audit_dir: str) -> tree.Leaves:
    """Every leaf hash, of pruned segments too. Raises HiveboxError when some are missing."""
    leaves = bytearray()
    for segment in segments.closed(audit_dir):
        if segment.first_seq * tree.HASH_BYTES != len(leaves):
            why = f"{len(leaves) // tree.HASH_BYTES} leaf hashes before segment {segment.first_seq}"
            raise HiveboxError("cannot make a proof", why, "take the missing segments from a backup")
        if segment.leaves:
            with open(segment.leaves, "rb") as file:
                leaves += file.read()
        else:
            leaves += b"".join(map(_leaf, segments.file_lines(segment.path)))
    seen = False
    for line in segments.read_lines(audit_dir, open_only=True):
        seen = True
        leaves += _leaf(line)
    if not seen and not leaves:
        raise HiveboxError("cannot make a proof", "the ledger has no records", "run something first")
    return tree.Leaves(bytes(leaves))


def _leaf(line: bytes) -> bytes:
    return tree.leaf_hash(line.removesuffix(b"\n"))


def _parsed(notes: list[bytes]) -> Iterator[note.Checkpoint]:
    for text in notes:
        try:
            yield note.parse(text)
        except note.NoteError:
            continue  # for the verifier to name


def _read_seed(state_dir: str) -> verify.Seed | None:
    """Believed only when our own signed checkpoint has the root that its hashes give: else whoever may write here could
    have us vouch for what we never verified."""
    try:
        with open(os.path.join(state_dir, "audit", _TREE), "rb") as file:
            said = json.loads(file.read(1 << 16))
        hashes = tuple(bytes.fromhex(text) for text in said["hashes"])
        frontier = tree.Frontier(said["seq"] + 1, hashes)
        with open(os.path.join(state_dir, "audit", _DIRECTORY, f"{frontier.size:020d}.note"), "rb") as file:
            checkpoint = note.parse(file.read(_LONGEST_NOTE))
        seed = verify.Seed(said["seq"], said["line_sha256"], said["origin"], hashes)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    signed = Keyring(keys.public_keys(state_dir, revoked=False)).signed(checkpoint)
    same = (checkpoint.origin, checkpoint.size, checkpoint.root) == (seed.origin, frontier.size, frontier.root())
    return seed if signed and same else None


def _write_seed(state_dir: str, seed: verify.Seed) -> None:
    dir_fd = open_private_dir(state_dir, "audit")
    try:
        said = {**seed._asdict(), "hashes": [each.hex() for each in seed.hashes]}
        _replace(dir_fd, _TREE, json.dumps(said).encode())
    finally:
        os.close(dir_fd)


def _replace(dir_fd: int, name: str, data: bytes) -> None:
    temporary = f".{name}-{os.urandom(8).hex()}"
    write_new(dir_fd, temporary, data, 0o600)
    os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    os.fsync(dir_fd)


def covering(state_dir: str, seq: int) -> note.Checkpoint | None:
    """The best to prove record ``seq`` with: the smallest that a witness cosigned, else the smallest."""
    covers = [each for each in _parsed(load(state_dir)) if each.size > seq]
    return next((each for each in covers if len(each.signatures) > 1), covers[0] if covers else None)


def last_cosigned(state_dir: str, witnesses: tuple[note.Verifier, ...], below: int) -> int:
    """The size of the last checkpoint that one of them has, 0 for none."""
    known = [
        each.size
        for each in _parsed(load(state_dir))
        if any(note.signed_by(each, who) is not None for who in witnesses)
    ]
    return max((size for size in known if size <= below), default=0)


def known_witnesses(state_dir: str) -> tuple[note.Verifier, ...]:
    """Those whose keys were given before. Raises HiveboxError."""
    try:
        with open(os.path.join(state_dir, "audit", _WITNESSES), encoding="utf-8") as file:
            return tuple(note.parse_verifier(line) for line in file if line.strip())
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise HiveboxError("cannot read the keys of the witnesses", str(error), f"mend audit/{_WITNESSES}") from error


def remember_witnesses(state_dir: str, witnesses: tuple[note.Verifier, ...]) -> None:
    """For the verifications to come."""
    dir_fd = open_private_dir(state_dir, "audit")
    try:
        _replace(dir_fd, _WITNESSES, "".join(f"{each}\n" for each in witnesses).encode())
    finally:
        os.close(dir_fd)
