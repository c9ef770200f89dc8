"""The Merkle tree of RFC 6962, section 2.1, over the ledger's lines without their newlines. Pure.

A ``Frontier`` is all that a tree's next root needs: the roots of its full subtrees, largest first, at most 64 of them
(the "compact range" of C2SP). Proofs need every leaf hash. Hashes are 32 bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


class ProofError(ValueError):
    """A proof that does not prove."""


def leaf_hash(line: bytes) -> bytes:
    """RFC 6962: SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\0" + line).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\1" + left + right).digest()


class Frontier:
    """A growing tree of ``size`` leaves. ``hashes`` are the roots of its full subtrees, largest first."""

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if size < 0 or len(hashes) != size.bit_count() or any(len(each) != 32 for each in hashes):
            raise ProofError(f"{len(hashes)} hashes cannot be the full subtrees of {size} leaves")
        self.size = size
        self.hashes = list(hashes)

    def add(self, leaf: bytes) -> None:
        """One more leaf hash."""
        size = self.size
        while size & 1:
            leaf = node_hash(self.hashes.pop(), leaf)
            size >>= 1
        self.hashes.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Of the tree so far."""
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node_hash(left, root)
        return root


class Leaves:
    """Leaf hashes as one run of bytes, from which roots of ranges and proofs are made."""

    def __init__(self, hashes: bytes) -> None:
        self._hashes = hashes
        self.size = len(hashes) // 32

    def root(self, start: int, end: int) -> bytes:
        """Of the leaves from ``start`` to ``end``, as a tree of their own."""
        frontier = Frontier()
        for index in range(start, end):
            frontier.add(self._hashes[32 * index : 32 * index + 32])
        return frontier.root()

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """RFC 6962, section 2.1.1: the audit path of leaf ``index`` in the tree of ``size`` leaves."""
        if not 0 <= index < size <= self.size:
            raise ProofError(f"no leaf {index} in a tree of {size}, of {self.size} known")
        path: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self.root(middle, end))
                end = middle
            else:
                path.append(self.root(start, middle))
                start = middle
        return path[::-1]

    def consistency(self, old: int, size: int) -> list[bytes]:
        """RFC 6962, section 2.1.2: that the tree of ``old`` leaves is a prefix of that of ``size``."""
        if not 0 < old <= size <= self.size:
            raise ProofError(f"no proof from {old} to {size} leaves, of {self.size} known")
        path: list[bytes] = []
        start, end, whole = 0, size, True
        while end != old:
            middle = start + _split(end - start)
            if old <= middle:
                path.append(self.root(middle, end))
                end = middle
            else:
                path.append(self.root(start, middle))
                start, whole = middle, False
        return ([] if whole else [self.root(start, end)]) + path[::-1]


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that ``path`` leads to (RFC 9162, section 2.1.3.2). Raises ProofError."""
    if not 0 <= index < size:
        raise ProofError(f"no leaf {index} in a tree of {size}")
    node, last, root = index, size - 1, leaf
    for step in path:
        if last == 0:
            raise ProofError("the path is too long")
        if node & 1 or node == last:
            root = node_hash(step, root)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            root = node_hash(root, step)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofError("the path is too short")
    return root


def check_consistency(old: int, old_root: bytes, size: int, root: bytes, path: Sequence[bytes]) -> None:
    """RFC 9162, section 2.1.4.2. Raises ProofError."""
    steps = list(path)
    if old == size:
        if steps or old_root != root:
            raise ProofError("two roots of one size")
        return
    if not 0 < old < size or not steps:
        raise ProofError(f"no proof from {old} to {size}")
    if old & (old - 1) == 0:
        steps.insert(0, old_root)
    node, last = old - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    first = second = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise ProofError("the path is too long")
        if node & 1 or node == last:
            first, second = node_hash(step, first), node_hash(step, second)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            second = node_hash(second, step)
        node, last = node >> 1, last >> 1
    if last or (first, second) != (old_root, root):
        raise ProofError("the older tree is not a prefix of the newer")


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << (size - 1).bit_length() - 1
