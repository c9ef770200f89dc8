"""The verifier, and the independent one, against golden, tampered and mutated ledgers."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import ModuleType

import pytest

from hivebox.audit import keys, statement
from hivebox.audit.rules import ERROR, RULES
from hivebox.audit.verify import Head, Verdict, verify

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests/vectors/audit"
EXPECTED = json.loads((VECTORS / "expected.json").read_text())
OWNER = keys.public_from_pem((VECTORS / "owner.pub.pem").read_bytes())
KEYS = {keys.keyid_of(OWNER): OWNER}
INDEPENDENT = ROOT / "scripts/verify_ledger.py"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = load(VECTORS / "make.py")
OTHER = load(INDEPENDENT)


def lines_of(name: str) -> list[bytes]:
    return (VECTORS / f"{name}.jsonl").open("rb").readlines()


def expected_head(text: str) -> Head | None:
    seq, _, digest = text.partition(":")
    return Head(int(seq), digest) if text else None


def found(verdict: Verdict, *, errors: bool) -> list[list[object]]:
    return sorted([f.line, f.rule] for f in verdict.findings if (f.severity == ERROR) is errors)


def independent(lines: list[bytes], head: str = "") -> list[tuple[int, str]]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    public = Ed25519PublicKey.from_public_bytes(OWNER)
    return [(line, rule) for line, rule, _ in OTHER.verify(lines, [public], head.split(":") if head else None)]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_vector_is_judged_by_the_right_rule(name: str) -> None:
    wanted = EXPECTED[name]
    verdict = verify(lines_of(name), KEYS, expected_head(wanted["head"]))
    assert found(verdict, errors=True) == sorted(wanted["errors"])
    assert found(verdict, errors=False) == sorted(wanted["remarks"])
    assert verdict.good is not bool(wanted["errors"])


@pytest.mark.parametrize("name", EXPECTED)
def test_the_independent_verifier_agrees(name: str) -> None:
    wanted = EXPECTED[name]
    reported = [[line % sys.maxsize, rule] for line, rule in independent(lines_of(name), wanted["head"])]
    assert sorted(reported) == sorted(wanted["errors"])


@pytest.mark.parametrize("name", ["golden", "golden-with-head", "edited-payload", "truncated", "deep-nesting"])
def test_the_independent_verifier_as_a_command(name: str) -> None:
    wanted = EXPECTED[name]
    head = [f"--head={wanted['head']}"] if wanted["head"] else []
    command = [sys.executable, str(INDEPENDENT), str(VECTORS / f"{name}.jsonl"), str(VECTORS / "owner.pub.pem"), *head]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    reported = [line.split(" ")[:2] for line in done.stdout.splitlines()]
    assert sorted(reported) == sorted([str(line or "-"), rule] for line, rule in wanted["errors"])
    assert (done.returncode, done.stderr) == (1 if wanted["errors"] else 0, "")


def test_the_independent_verifier_is_independent_and_short() -> None:
    text = INDEPENDENT.read_text()
    assert "import hivebox" not in text
    assert "from hivebox" not in text
    assert len(text.splitlines()) < 160


def test_the_vectors_are_what_make_writes_today() -> None:
    """The format is frozen: a change of one byte in what hivebox writes shows here."""
    for name, vector in MAKE.vectors().items():
        assert (VECTORS / f"{name}.jsonl").read_bytes() == b"".join(vector.lines), name
    assert {path.stem for path in VECTORS.glob("*.jsonl")} == set(EXPECTED) == set(MAKE.vectors())


def test_every_rule_has_a_vector_but_the_one_that_takes_16_mib() -> None:
    shown = {rule for wanted in EXPECTED.values() for _, rule in wanted["errors"] + wanted["remarks"]}
    since_version_2 = {
        "expired",
        "revoked",
        "keys",
        "checkpoint",
        "rollback",
        "rewritten",
        "segment",
        "proof",
        "pruned",
    }
    assert shown == set(RULES) - {"line"} - since_version_2


def test_a_line_that_is_too_long() -> None:
    lines = [*lines_of("golden")[:2], b'"' + b"x" * (16 << 20) + b'"\n']
    assert found(verify(lines, KEYS), errors=True) == [[3, "line"]]
    assert independent(lines) == [(3, "line")]


def test_the_head_of_a_good_ledger_is_its_last_line() -> None:
    lines = lines_of("golden")
    verdict = verify(lines, KEYS)
    assert verdict.head == Head(7, MAKE.digest(lines[-1]))
    assert (verdict.lines, verdict.records, verdict.runs) == (8, 8, 4)
    assert [(run.line, run.record.run_id) for run in verdict.open_runs] == [(8, "run-d")]


def test_without_the_key_every_record_is_of_an_unknown_key() -> None:
    verdict = verify(lines_of("golden"), {})
    assert [f.rule for f in verdict.findings if f.severity == ERROR] == ["key"] * 8


def mutations(line: bytes) -> Iterator[bytes]:
    """Each byte flipped in one bit; over 1,300 bytes every bit has its turn in every field."""
    for position, byte in enumerate(line):
        yield line[:position] + bytes([byte ^ 1 << (position * 5 + 1) % 8]) + line[position + 1 :]


@pytest.mark.parametrize("index", [0, 4, 7])
def test_no_byte_of_a_record_can_be_flipped(index: int) -> None:
    """Line 7 is the last: no later record's ``prev`` protects it, only its own envelope."""
    lines = lines_of("golden")
    for mutated in mutations(lines[index]):
        split = BytesIO(b"".join([*lines[:index], mutated, *lines[index + 1 :]])).readlines()
        verdict = verify(split, KEYS)
        assert not verdict.good, mutated
        first_bad = min(f.line for f in verdict.findings if f.severity == ERROR)
        assert first_bad == index + 1, mutated


def test_the_independent_verifier_sees_every_flipped_byte_too() -> None:
    lines = lines_of("golden")
    for mutated in mutations(lines[7]):
        assert independent([*lines[:7], *BytesIO(mutated).readlines()]), mutated


def structural() -> Iterator[tuple[str, list[bytes], set[str]]]:
    lines = lines_of("golden")
    last = len(lines) - 1
    for i in range(len(lines)):
        if i < last:
            yield f"delete {i}", lines[:i] + lines[i + 1 :], {"gap"}
        yield f"duplicate {i}", [*lines[: i + 1], lines[i], *lines[i + 1 :]], {"duplicate"}
        if i < last:
            yield f"replay {i}", [*lines, lines[i]], {"replay"}
        for j in range(i + 1, len(lines)):
            swapped = list(lines)
            swapped[i], swapped[j] = swapped[j], swapped[i]
            yield f"swap {i} {j}", swapped, {"order"}
            moved = lines[:i] + lines[i + 1 : j + 1] + [lines[i]] + lines[j + 1 :]
            yield f"move {i} behind {j}", moved, {"order"}


@pytest.mark.parametrize(("lines", "rules"), [pytest.param(ls, r, id=n) for n, ls, r in structural()])
def test_no_line_can_be_deleted_repeated_or_moved(lines: list[bytes], rules: set[str]) -> None:
    reported = {f.rule for f in verify(lines, KEYS).findings if f.severity == ERROR}
    assert reported >= rules
    assert reported <= rules | {"prev", "run"}, "named as what it is"
    assert {rule for _, rule in independent(lines)} == reported


@pytest.mark.parametrize("kept", range(8))
def test_a_cut_off_end_shows_against_a_known_head(kept: int) -> None:
    lines = lines_of("golden")
    head = Head(7, MAKE.digest(lines[7]))
    assert verify(lines[:kept], KEYS).good, "the file alone cannot show it"
    assert found(verify(lines[:kept], KEYS, head), errors=True) == [[0, "head"]]


def test_a_prefix_signed_by_a_thief_shows_against_a_known_head() -> None:
    """With the key, everything behind the last head that was kept elsewhere can be rewritten; nothing before it can."""
    lines = lines_of("rewritten-tail")
    assert verify(lines, KEYS, Head(5, MAKE.digest(lines[5]))).good
    assert not verify(lines, KEYS, Head(6, MAKE.digest(lines_of("golden")[6]))).good


@pytest.mark.parametrize("field", ["payload", "payloadType", "keyid", "another", "event"])
def test_a_hostile_line_is_quoted_short(field: str) -> None:
    long = "x" * 100_000
    good = lines_of("golden")[0]
    outer = json.loads(good)
    if field == "keyid":
        outer["signatures"][0]["keyid"] = long
    elif field == "event":
        outer = json.loads(MAKE.seal(MAKE.payload_of(good).replace(b"started", long.encode())))
    else:
        outer[long if field == "another" else field] = long
    line = json.dumps(outer, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    findings = verify([line], KEYS).findings
    assert findings
    assert all(len(f.expected + f.got) < 400 for f in findings)


def test_the_statement_decodes_to_what_was_encoded() -> None:
    record = statement.decode(MAKE.payload_of(lines_of("golden")[0]))
    assert record.predicate["request"]["argv"] == ["python3", "h\u00e9.py", {"base64": "/w=="}, "tab\t"]
    assert record.subjects[1][0] == "name with \\udcff byte"
