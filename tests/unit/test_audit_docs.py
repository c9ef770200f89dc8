"""docs/audit-format.md is true: its commands run, its table is the code's."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hivebox.audit import envelope, keys, statement
from hivebox.audit.rules import RULES

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs/audit-format.md").read_text()
VECTORS = ROOT / "tests/vectors/audit"


def block(name: str) -> str:
    found = re.search(rf"<!-- test: {name} -->\n```\w+\n(.*?)```", DOCS, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(VECTORS / "owner.pub.pem", tmp_path / "signing.pub.pem")
    return tmp_path


def line_of(name: str, index: int) -> bytes:
    return (VECTORS / f"{name}.jsonl").open("rb").readlines()[index]


def openssl(folder: Path, line: bytes) -> subprocess.CompletedProcess[str]:
    (folder / "line.json").write_bytes(line)
    return subprocess.run(["sh", "-e", "-c", block("openssl")], cwd=folder, capture_output=True, text=True, check=False)


def securesystemslib(folder: Path, line: bytes) -> subprocess.CompletedProcess[str]:
    (folder / "line.json").write_bytes(line)
    command = [sys.executable, "-c", block("securesystemslib")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("index", [0, 4, 7])
def test_openssl_alone_verifies_an_envelope(folder: Path, index: int) -> None:
    done = openssl(folder, line_of("golden", index))
    assert (done.returncode, done.stdout) == (0, "Signature Verified Successfully\n"), done.stderr
    assert (folder / "payload.json").read_bytes() == envelope.unseal(line_of("golden", index)[:-1]).payload


@pytest.mark.parametrize(
    ("name", "index"), [("edited-payload", 2), ("edited-signature", 2), ("resigned-with-other-key", 2)]
)
def test_openssl_alone_refuses_a_tampered_one(folder: Path, name: str, index: int) -> None:
    done = openssl(folder, line_of(name, index))
    assert done.returncode != 0
    assert "Verified Successfully" not in done.stdout


def test_the_documented_digests_are_the_keyid_and_the_next_prev(folder: Path) -> None:
    def printed(command: str) -> str:
        assert command in DOCS
        return subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=True).stdout[:64]

    (folder / "line.json").write_bytes(line_of("golden", 0))
    sealed = envelope.unseal(line_of("golden", 0)[:-1])
    assert printed("openssl pkey -pubin -in signing.pub.pem -outform DER | sha256sum") == sealed.keyid
    following = statement.decode(envelope.unseal(line_of("golden", 1)[:-1]).payload)
    assert printed("tr -d '\\n' < line.json | sha256sum") == following.prev


def test_securesystemslib_verifies_and_refuses(folder: Path) -> None:
    pytest.importorskip("securesystemslib")
    good = securesystemslib(folder, line_of("golden", 4))
    assert (good.returncode, good.stderr) == (0, "")
    bad = securesystemslib(folder, line_of("edited-payload", 2))
    assert bad.returncode != 0
    assert "VerificationError" in bad.stderr


def test_the_rules_in_the_docs_are_the_rules_in_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (error|warning|notice) \|", DOCS, re.MULTILINE)
    assert rows == [(rule, severity) for rule, (severity, _) in RULES.items()]


def test_the_constants_in_the_docs_are_those_in_the_code() -> None:
    public = keys.public_from_pem((VECTORS / "owner.pub.pem").read_bytes())
    pem = keys.public_to_pem(public)
    assert all(name in DOCS for name in statement.PREDICATE_TYPES.values())
    assert statement.STATEMENT_TYPE in DOCS
    assert f"DSSEv1 SP {len(envelope.PAYLOAD_TYPE)} SP {envelope.PAYLOAD_TYPE} SP" in DOCS
    assert str(envelope.MAX_LINE_BYTES) in DOCS
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=pem, capture_output=True, check=True)
    assert der.stdout == bytes.fromhex("302a300506032b6570032100") + public
    assert "302a300506032b6570032100" in DOCS


def test_links_within_the_page_lead_somewhere() -> None:
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", DOCS, re.M)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", DOCS)) <= anchors
