"""Format version 2: golden and tampered ledgers with checkpoints; every mutation is found and named."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hivebox.audit import keys, note, seals, verify
from hivebox.audit.rules import ERROR, RULES
from tests.unit.test_audit_verify import load, mutations

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests/vectors/audit2"
EXPECTED: dict[str, dict[str, Any]] = json.loads((VECTORS / "expected.json").read_text())
MAKE = load(VECTORS / "make.py")
WITNESS = note.parse_verifier((VECTORS / "witness.vkey").read_text())
INDEPENDENT = ROOT / "scripts/verify_ledger.py"


def lines_of(name: str) -> list[bytes]:
    return (VECTORS / f"{name}.jsonl").open("rb").readlines()


def judged(name: str, **evidence: Any) -> verify.Verdict:
    wanted = EXPECTED[name]
    publics = [keys.public_from_pem((VECTORS / f"{key}.pub.pem").read_bytes()) for key in wanted["keys"]]
    notes = tuple((VECTORS / f"{each}.note").read_bytes() for each in wanted["checkpoints"])
    held = verify.Evidence(checkpoints=notes, witnesses=(WITNESS,), alone=wanted["alone"])._replace(**evidence)
    return verify.verify(lines_of(name), {keys.keyid_of(public): public for public in publics}, evidence=held)


def found(verdict: verify.Verdict, *, errors: bool) -> list[list[object]]:
    return sorted([f.line, f.rule] for f in verdict.findings if (f.severity == ERROR) is errors)


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_vector_is_judged_by_the_right_rule(name: str, every: bool) -> None:
    """Whether signatures are verified one by one or by checkpoint."""
    verdict = judged(name, every_signature=every)
    assert found(verdict, errors=True) == sorted(EXPECTED[name]["errors"])
    assert found(verdict, errors=False) == sorted(EXPECTED[name]["remarks"])
    assert verdict.good is not bool(EXPECTED[name]["errors"])


def test_the_vectors_are_what_make_writes_today() -> None:
    for name, vector in MAKE.vectors().items():
        assert (VECTORS / f"{name}.jsonl").read_bytes() == b"".join(vector.lines), name
    for name, text in MAKE.NOTES.items():
        assert (VECTORS / f"{name}.note").read_bytes() == text, name
    assert {path.stem for path in VECTORS.glob("*.jsonl")} == set(EXPECTED) == set(MAKE.vectors())


def test_every_rule_of_this_version_has_a_vector() -> None:
    shown = {rule for wanted in EXPECTED.values() for _, rule in wanted["errors"] + wanted["remarks"]}
    assert shown >= {"expired", "revoked", "keys", "checkpoint", "rollback", "rewritten", "segment", "pruned"}
    assert shown <= set(RULES)


def test_a_checkpoint_says_what_it_covers_and_who_saw_it() -> None:
    verdict = judged("golden-checkpointed")
    assert (verdict.checkpointed, verdict.witnessed) == (12, 4)
    (rewritten,) = judged("rewritten-after-a-witnessed-checkpoint").findings
    assert "4 records" in rewritten.expected
    assert rewritten.expected.endswith("seen by witness.example/w1 at 2026-01-31T22:53:20Z")


OWNER = {MAKE.OWNER.keyid: MAKE.OWNER.public}
CHECKPOINTS = tuple(MAKE.NOTES[name] for name in MAKE.ALL)


@pytest.mark.parametrize("index", [1, 4, 8])
def test_no_byte_under_a_checkpoint_can_be_flipped(index: int) -> None:
    """The quick way (by checkpoint) finds the same first bad record as the slow one."""
    for mutated in mutations(MAKE.GOLDEN[index]):
        lines = [*MAKE.GOLDEN[:index], *mutated.splitlines(keepends=True), *MAKE.GOLDEN[index + 1 :]]
        verdict = verify.verify(lines, OWNER, evidence=verify.Evidence(checkpoints=CHECKPOINTS))
        first_bad = min((f.line for f in verdict.findings if f.severity == ERROR and f.line), default=None)
        assert first_bad == index + 1, mutated


def structural() -> Iterator[tuple[str, list[bytes], set[str]]]:
    lines, last = MAKE.GOLDEN, len(MAKE.GOLDEN) - 1
    for i in range(len(lines)):
        yield f"delete {i}", lines[:i] + lines[i + 1 :], {"gap" if i < last else "rollback"}
        yield f"duplicate {i}", [*lines[: i + 1], lines[i], *lines[i + 1 :]], {"duplicate"}
        yield f"cut off at {i}", lines[:i], {"rollback"}
        if i < last:
            yield f"replay {i}", [*lines, lines[i]], {"replay"}
        for j in range(i + 1, len(lines)):
            swapped = list(lines)
            swapped[i], swapped[j] = swapped[j], swapped[i]
            yield f"swap {i} {j}", swapped, {"order"}


@pytest.mark.parametrize(("lines", "rules"), [pytest.param(ls, r, id=n) for n, ls, r in structural()])
def test_no_line_can_be_deleted_repeated_or_moved(lines: list[bytes], rules: set[str]) -> None:
    trusted = {**OWNER, MAKE.SECOND.keyid: MAKE.SECOND.public}  # so that a missing rotation is a gap and no more
    verdict = verify.verify(lines, trusted, evidence=verify.Evidence(checkpoints=CHECKPOINTS[2:]))
    reported = {f.rule for f in verdict.findings if f.severity == ERROR}
    assert reported & rules, "named as what it is"
    consequences = {"prev", "run", "expired", "revoked", "segment", "checkpoint"}
    assert reported <= rules | consequences, "and as nothing else"


@pytest.mark.parametrize("seed", range(20))
def test_a_thief_of_all_keys_cannot_change_what_a_checkpoint_saw(seed: int) -> None:
    """Any record before a kept checkpoint, rightly signed and chained anew."""
    chosen = random.Random(seed)
    victim = chosen.choice([0, 1, 2, 3])

    def edit(steps: list[Any]) -> None:
        steps[victim] = steps[victim]._replace(content={"x": chosen.random()})

    lines = MAKE.rewritten(edit)
    assert verify.verify(lines, OWNER).good, "in itself it is as good as the true one"
    verdict = verify.verify(lines, OWNER, evidence=verify.Evidence(checkpoints=CHECKPOINTS[:1], witnesses=(WITNESS,)))
    rules = {f.rule for f in verdict.findings if f.severity == ERROR}
    assert rules == ({"checkpoint"} if victim == 0 else {"rewritten"}), "another first record is another ledger"


def test_a_signature_that_no_checkpoint_covers_is_verified() -> None:
    forged = MAKE.edited(7)
    verdict = verify.verify(forged, OWNER, evidence=verify.Evidence(checkpoints=CHECKPOINTS[:1]))
    assert [f.rule for f in verdict.findings if f.line == 8] == ["signature"]


def test_an_unsigned_checkpoint_vouches_for_nothing() -> None:
    """Its root is right, its signature is not: the records are verified one by one."""
    forged = MAKE.edited(2)
    vouching = MAKE.checkpoint(forged[:4], MAKE.STRANGER)
    verdict = verify.verify(forged, OWNER, evidence=verify.Evidence(checkpoints=(vouching,)))
    assert [f.rule for f in verdict.findings if f.line == 3] == ["signature"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n\n",
        b"x\n1\nAA==\n\n",
        b"x\n01\n" + b"A" * 43 + b"=\n\n\xe2\x80\x94 x AAAAAAA=\n",
        b"\xff",
        b"x\n" * (1 << 19),
    ],
)
def test_a_note_that_is_no_checkpoint_is_refused(text: bytes) -> None:
    with pytest.raises(note.NoteError):
        note.parse(text)


def test_notes_read_back_as_they_were_written() -> None:
    for text in CHECKPOINTS:
        assert note.parse(text).note() == text
    assert str(WITNESS) == (VECTORS / "witness.vkey").read_text().strip()
    for wrong in ("x", "a+b+c", str(WITNESS).replace("w1", "w2"), str(WITNESS)[:-4]):
        with pytest.raises(note.NoteError):
            note.parse_verifier(wrong)


OF_THE_TREE = {"checkpoint", "rollback", "rewritten", "segment"}


def run_script(script: str, *words: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1 if done.stdout else 0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", EXPECTED)
def test_the_independent_verifiers_agree(name: str) -> None:
    """Records by one, checkpoints by the other; the tree that a segment begins with is in neither."""
    wanted = EXPECTED[name]
    words = [str(VECTORS / f"{name}.jsonl"), *(str(VECTORS / f"{key}.pub.pem") for key in wanted["keys"])]
    reported = [line.split(" ")[:2] for line in run_script("verify_ledger.py", *words, *["--alone"][: wanted["alone"]])]
    assert sorted(reported) == sorted([str(line), rule] for line, rule in wanted["errors"] if rule not in OF_THE_TREE)
    if wanted["checkpoints"] and not name.startswith("segment") and not reported:
        notes = [f"--checkpoint={VECTORS / each}.note" for each in wanted["checkpoints"]]
        said = run_script("verify_tree.py", *words, str(VECTORS / "second.pub.pem"), *notes)
        assert {line.split(" ")[0] for line in said} == {rule for _, rule in wanted["errors"]}


def test_the_independent_verifiers_are_independent_and_short() -> None:
    for name in ("verify_ledger.py", "verify_tree.py"):
        text = (ROOT / "scripts" / name).read_text()
        assert "import hivebox" not in text
        assert "from hivebox" not in text
        assert len(text.splitlines()) < 160


def test_the_origin_is_the_first_record() -> None:
    assert note.parse(CHECKPOINTS[0]).origin == seals.origin_of(MAKE.digest(MAKE.GOLDEN[0]))
