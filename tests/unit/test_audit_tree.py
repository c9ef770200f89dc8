"""The Merkle tree against published vectors and against a library that is not ours."""

from __future__ import annotations

import hashlib

import pytest

from hivebox.audit import tree
from hivebox.audit.tree import Frontier, Leaves, ProofError, check_consistency, leaf_hash, root_from_inclusion

# The inputs and roots of the reference implementation of RFC 6962 (google/certificate-transparency, merkletree tests),
# which other implementations of the RFC test against too.
ENTRIES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = Leaves(b"".join(map(leaf_hash, ENTRIES)))
# (leaf, size, path) and (old, size, path) of the same tests.
INCLUSION = [
    (0, 8, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"]),
    (5, 8, ["bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"]),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (1, 5, ["6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"]),
]  # fmt: skip
CONSISTENCY = [
    (1, 8, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"]),
    (6, 8, ["0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"]),
    (2, 5, ["5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"]),
]  # fmt: skip


def random_leaves(size: int) -> Leaves:
    return Leaves(b"".join(leaf_hash(b"%d" % number) for number in range(size)))


def test_the_published_roots() -> None:
    frontier = Frontier()
    assert frontier.root() == hashlib.sha256(b"").digest()
    for entry, root in zip(ENTRIES, ROOTS, strict=True):
        frontier.add(leaf_hash(entry))
        assert frontier.root().hex() == root
        assert Frontier(frontier.size, frontier.hashes).root().hex() == root
        assert LEAVES.root(0, frontier.size).hex() == root


@pytest.mark.parametrize(("index", "size", "path"), INCLUSION)
def test_the_published_inclusion_proofs(index: int, size: int, path: list[str]) -> None:
    assert [each.hex() for each in LEAVES.inclusion(index, size)] == path


@pytest.mark.parametrize(("old", "size", "path"), CONSISTENCY)
def test_the_published_consistency_proofs(old: int, size: int, path: list[str]) -> None:
    assert [each.hex() for each in LEAVES.consistency(old, size)] == path


def test_every_proof_up_to_33_leaves_proves_and_no_other() -> None:
    leaves = random_leaves(33)
    for size in range(1, 34):
        root = leaves.root(0, size)
        for index in range(size):
            path, leaf = leaves.inclusion(index, size), leaf_hash(b"%d" % index)
            assert root_from_inclusion(leaf, index, size, path) == root
            assert root_from_inclusion(leaf_hash(b"x"), index, size, path) != root
            for wrong in ([*path, root], path[:-1]):
                if wrong != path:
                    with pytest.raises(ProofError):
                        root_from_inclusion(leaf, index, size, wrong)
        for old in range(1, size):
            path = leaves.consistency(old, size)
            check_consistency(old, leaves.root(0, old), size, root, path)
            with pytest.raises(ProofError):
                check_consistency(old, root, size, root, path)
            with pytest.raises(ProofError):
                check_consistency(old, leaves.root(0, old), size, leaves.root(0, old), path)
            with pytest.raises(ProofError):
                check_consistency(old, leaves.root(0, old), size, root, path[:-1])


def test_an_independent_library_accepts_our_proofs() -> None:
    pymerkle = pytest.importorskip("pymerkle")
    theirs = pymerkle.InmemoryTree(algorithm="sha256")
    for number in range(21):
        theirs.append_entry(b"%d" % number)
    ours = random_leaves(21)
    for size in (1, 2, 7, 16, 21):
        root = ours.root(0, size)
        assert root == theirs.get_root(size)
        for index in range(size):
            leaf, path = leaf_hash(b"%d" % index), ours.inclusion(index, size)
            proof = theirs.prove_inclusion(index + 1, size)
            assert proof.path[1:] == path or size == 1
            rebuilt = type(proof)("sha256", True, size, index + 1, proof.rule, [leaf, *path])
            pymerkle.verify_inclusion(leaf, root, rebuilt, index=index + 1, size=size)
            assert root_from_inclusion(leaf, index, size, proof.path[1:]) == root


def test_a_second_independent_library_agrees_on_every_consistency_proof() -> None:
    """pymerkle's consistency proofs have a form of their own; tamperlog's are the RFC's. Both ways, up to 33 leaves."""
    merkle = pytest.importorskip("tamperlog.merkle")
    refused = pytest.importorskip("tamperlog.errors").ProofError
    leaves = [leaf_hash(b"%d" % number) for number in range(33)]
    ours = random_leaves(33)
    for size in range(1, 34):
        root = ours.root(0, size)
        assert merkle.merkle_root(leaves[:size]) == root
        for old in range(1, size + 1):
            before, path = ours.root(0, old), ours.consistency(old, size)
            merkle.verify_consistency(old, before, size, root, path)
            check_consistency(old, before, size, root, merkle.consistency_proof(old, leaves[:size]))
            if old < size:
                for wrong in ((old, root, size, root, path), (old, before, size, before, path)):
                    with pytest.raises(refused):
                        merkle.verify_consistency(*wrong)


def test_a_frontier_of_the_wrong_shape_is_refused() -> None:
    for size, hashes in ((1, []), (2, [b"x" * 32] * 2), (1, [b"short"]), (-1, [])):
        with pytest.raises(ProofError):
            Frontier(size, hashes)
    with pytest.raises(ProofError):
        LEAVES.inclusion(8, 8)
    with pytest.raises(ProofError):
        LEAVES.consistency(0, 8)
    assert Frontier().root() == tree.EMPTY_ROOT
