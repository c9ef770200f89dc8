"""Checkpoints, witnesses, proofs, segments, retention and key changes, through the command that users have."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from hivebox.audit import checkpoints, history, keys, note, segments, settings, tree, upkeep, verify
from hivebox.audit.ledger import Ledger
from hivebox.audit.rules import ERROR
from hivebox.cli.main import main
from hivebox.errors import HiveboxError

ROOT = Path(__file__).parents[2]
SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
WITNESS = keys.signer_from_seed(hashlib.sha256(b"hivebox test witness").digest())
WITNESS_KEY = note.Verifier("witness.example/test", note.COSIGNATURE, WITNESS.public)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HIVEBOX_STATE", str(tmp_path / "state"))
    add(tmp_path / "state", 3)
    return tmp_path / "state"


def add(state: Path, runs: int, filler: int = 0) -> list[str]:
    ledger, names = Ledger(str(state)), []
    for _ in range(runs):
        names.append("run-" + os.urandom(4).hex())
        ledger.append("started", names[-1], [("script", "ab" * 32)], {"filler": "x" * filler})
        ledger.append("finished", names[-1], [], {"result": {"outcome": "ok"}})
    return names


@pytest.fixture
def audit(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*words: str, code: int = 0) -> str:
        got = main(["audit", *words])
        said = capsys.readouterr()
        assert got == code, said.out + said.err
        assert "Traceback" not in said.err
        return str(said.out if code in (0, 1) else said.err)

    return call


def rules(state: Path, **evidence: Any) -> list[str]:
    notes = (*checkpoints.load(str(state)), *evidence.pop("kept", ()))
    held = verify.Evidence(checkpoints=notes, **evidence)
    verdict = verify.verify(segments.read_lines(str(state / "audit")), keys.public_keys(str(state)), evidence=held)
    return [found.rule for found in verdict.findings if found.severity == ERROR]


# Checkpoints and witnesses


def test_a_checkpoint_is_made_every_so_many_records(state: Path, audit: Any) -> None:
    audit("keep", "--checkpoint-every", "10")
    add(state, 20)
    sizes = [note.parse(text).size for text in checkpoints.load(str(state))]
    assert sizes == [10, 20, 30, 40]
    said = json.loads(audit("verify", "--json"))
    assert (said["records"], said["checkpointed"], said["good"]) == (46, 40, True)


def test_nothing_is_signed_that_does_not_verify(state: Path, audit: Any) -> None:
    ledger = state / "audit/ledger.jsonl"
    whole = ledger.read_bytes()
    ledger.write_bytes(whole.replace(b'"sig":"', b'"sig":"AAAA', 1))
    assert "cannot vouch" in audit("checkpoint", code=125)
    ledger.write_bytes(whole)
    audit("checkpoint")
    # Not even when what remembers how far was verified was edited together with the ledger.
    add(state, 1)
    seed = json.loads((state / "audit/tree").read_text())
    frontier = tree.Frontier()
    forged = ledger.read_bytes().splitlines()
    forged[6] = forged[6][:-10] + b"A" * 6 + forged[6][-4:]
    for line in forged[:8]:
        frontier.add(tree.leaf_hash(line))
    seed |= {
        "seq": 7,
        "line_sha256": hashlib.sha256(forged[7]).hexdigest(),
        "hashes": [h.hex() for h in frontier.hashes],
    }
    (state / "audit/tree").write_text(json.dumps(seed))
    ledger.write_bytes(b"\n".join(forged) + b"\n")
    assert "cannot vouch" in audit("checkpoint", code=125)


def test_a_file_that_remembers_names_a_rollback_and_a_rewriting(state: Path, audit: Any, tmp_path: Path) -> None:
    kept = str(tmp_path / "usb" / "ledger.note")
    os.mkdir(tmp_path / "usb")
    audit("checkpoint", "--witness", kept)
    shutil.copytree(state, tmp_path / "older")
    add(state, 2)
    audit("checkpoint", "--witness", kept)
    assert note.parse(Path(kept).read_bytes()).size == 10
    shutil.rmtree(state)
    shutil.copytree(tmp_path / "older", state)  # ledger, state and checkpoints, all older
    assert audit("verify").endswith("good\n"), "in itself it is good"
    assert "rollback" in audit("verify", "--checkpoint", kept, code=1)
    assert "it was rolled back" in audit("checkpoint", "--witness", kept, code=125)
    add(state, 5)
    assert "rewritten" in audit("verify", "--checkpoint", kept, code=1)
    assert "rewritten after it was witnessed" in audit("checkpoint", "--witness", kept, code=125)


COSIGN = """
import sys, time
sys.path.insert(0, sys.argv[1])
from tests.unit.test_audit_evidence import cosignature
from hivebox.audit import note
sys.stdout.write(cosignature(note.parse(sys.stdin.buffer.read()), bool(sys.argv[2:])).line())
"""


def cosignature(checkpoint: note.Checkpoint, wrong: bool = False) -> note.Signature:
    seconds = int(time.time())
    raw = WITNESS.sign(note.cosigned(checkpoint.text + (b"x" if wrong else b""), seconds))
    return note.Signature(WITNESS_KEY.name, WITNESS_KEY.key_hash, seconds.to_bytes(8, "big") + raw)


def test_a_command_cosigns_and_a_wrong_cosignature_is_refused(state: Path, audit: Any, tmp_path: Path) -> None:
    (tmp_path / "cosign.py").write_text(COSIGN)
    command = f"command:{sys.executable} {tmp_path / 'cosign.py'} {ROOT}"
    assert "give its key with --witness-key" in audit("checkpoint", "--witness", command, code=125)
    assert "no good signature" in audit(
        "checkpoint", "--witness", command + " wrong", "--witness-key", str(WITNESS_KEY), code=125
    )
    audit("checkpoint", "--witness", command, "--witness-key", str(WITNESS_KEY))
    assert json.loads(audit("verify", "--json"))["witnessed"] == 6, "its key is remembered"
    audit("checkpoint")
    assert json.loads(audit("verify", "--json"))["witnessed"] == 6, "and its signature is kept"
    assert "the witness refused" in audit("checkpoint", "--witness", "command:false", code=125)


class WitnessServer(BaseHTTPRequestHandler):
    """https://c2sp.org/tlog-witness, add-checkpoint."""

    size, root = 0, b""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head, _, text = body.partition(b"\n\n")
        first, *steps = head.decode().split("\n")
        checkpoint, old = note.parse(text), int(first.removeprefix("old "))
        cls = type(self)
        if self.path != "/add-checkpoint":
            return self.answer(404, "")
        if old != cls.size or old > checkpoint.size:
            return self.answer(409, f"{cls.size}\n")
        try:
            if old:
                path = [base64.b64decode(step) for step in steps]
                tree.check_consistency(old, cls.root, checkpoint.size, checkpoint.root, path)
        except tree.ProofError:
            return self.answer(422, "")
        cls.size, cls.root = checkpoint.size, checkpoint.root
        return self.answer(200, cosignature(checkpoint).line())

    def answer(self, code: int, text: str) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def witness_url() -> Iterator[str]:
    WitnessServer.size, WitnessServer.root = 0, b""
    with HTTPServer(("127.0.0.1", 0), WitnessServer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_network_witness_gets_consistency_proofs_and_finds_a_fork(
    state: Path, audit: Any, witness_url: str, tmp_path: Path
) -> None:
    words = ("checkpoint", "--witness", witness_url, "--witness-key", str(WITNESS_KEY))
    audit(*words)
    shutil.copytree(state, tmp_path / "fork")
    for runs in (1, 2, 4):
        add(state, runs)
        audit(*words)
    assert WitnessServer.size == 20
    (state / "audit/witnesses").unlink()  # so that it does not know what the witness has: 409, and once more
    shutil.rmtree(state / "audit/checkpoints")
    add(state, 1)
    audit(*words)
    assert json.loads(audit("verify", "--json"))["witnessed"] == 22
    shutil.rmtree(state)
    shutil.copytree(tmp_path / "fork", state)
    assert "it was rolled back" in audit(*words, code=125)
    add(state, 20)
    assert "rewritten after it was witnessed" in audit(*words, code=125)


# Proofs


def test_a_proof_convinces_who_has_no_ledger(state: Path, audit: Any, tmp_path: Path) -> None:
    audit("checkpoint", "--witness", str(tmp_path / "kept"))
    (name,) = add(state, 1)
    audit("checkpoint")
    proof = tmp_path / "proof.json"
    proof.write_text(audit("prove", name, "--since", str(tmp_path / "kept")))
    assert "good" in audit("verify", "--proof", str(proof))
    script = [
        sys.executable,
        str(ROOT / "scripts/verify_tree.py"),
        f"--proof={proof}",
        str(state / "keys/signing.pub.pem"),
    ]
    assert subprocess.run(script, check=False).returncode == 0
    spoilers: list[Callable[[Any], Any]] = [
        lambda said: said["records"][0]["path"].pop(),
        lambda said: said["records"][0].update(index=3),
        lambda said: said["records"][0].update(line=said["records"][1]["line"]),
        lambda said: said.update(checkpoint=said["since"]["checkpoint"]),
        lambda said: said["since"]["path"].reverse(),
        lambda said: said.update(type="x"),
        lambda said: said.pop("records"),
    ]
    for spoil in spoilers:
        said = json.loads(proof.read_text())
        spoil(said)
        (tmp_path / "spoilt").write_text(json.dumps(said))
        assert "BAD" in audit("verify", "--proof", str(tmp_path / "spoilt"), code=1)


def proof_of_last_run(state: Path, audit: Any) -> tuple[str, dict[str, Any]]:
    (name,) = add(state, 1)
    return name, json.loads(audit("prove", name))


def independent(*words: str | Path) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, str(ROOT / "scripts/verify_tree.py"), *map(str, words)]
    return subprocess.run(script, capture_output=True, text=True, check=False)


def test_a_proof_says_what_it_proves(state: Path, audit: Any, tmp_path: Path) -> None:
    name, proof = proof_of_last_run(state, audit)
    path = tmp_path / "proof.json"
    path.write_text(json.dumps(proof))
    said = audit("verify", "--proof", str(path))
    assert f"run          {name}: ok\n" in said
    assert f"script       {'ab' * 32}\n" in said
    assert "ledger       hivebox.dev/audit/" in said
    assert "record       7 (finished, " in said
    proof["records"].pop()
    path.write_text(json.dumps(proof))
    assert f"run          {name}: no end is proven" in audit("verify", "--proof", str(path))
    run = {"run_id": name, "scripts": [["script", "ab" * 32]], "outcome": None}
    assert json.loads(audit("verify", "--proof", str(path), "--json"))["runs"] == [run]
    proof["records"] = []
    path.write_text(json.dumps(proof))
    said = audit("verify", "--proof", str(path), code=1)
    assert "none: this proves nothing" in said
    assert said.endswith("BAD\n")
    theirs = independent(state / "keys/signing.pub.pem", f"--proof={path}")
    assert (theirs.returncode, theirs.stdout) == (1, "proof has no record: it proves nothing\n")


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        ({"type": 1}, "type: a text, got 1"),
        ({"checkpoint": None}, "checkpoint: a text, got nothing"),
        ({"checkpoint": "x"}, "got not a checkpoint: origin, size and root"),
        ({"checkpoint": "\udcff"}, "got not a checkpoint"),
        ({"records": {}}, "records: a list, got {}"),
        ({"records": [1]}, "line: a text, got nothing"),
        ({"records": [{"line": "\ud800", "index": 0, "path": []}]}, "envelope"),
        ({"records": [{"line": "", "index": True, "path": []}]}, "index: a whole number, got True"),
        ({"records": [{"line": "", "index": 0, "path": [1]}]}, "path: hashes in hexadecimal"),
        ({"records": [{"line": "", "index": 0, "path": ["x"]}]}, "path: hashes in hexadecimal"),
        ({"since": []}, "checkpoint: a text, got nothing"),
    ],
)
def test_a_malformed_proof_is_bad_in_words(
    state: Path, audit: Any, tmp_path: Path, spoil: dict[str, Any], expected: str
) -> None:
    _, proof = proof_of_last_run(state, audit)
    (tmp_path / "spoilt").write_text(json.dumps({**proof, **spoil}))
    said = audit("verify", "--proof", str(tmp_path / "spoilt"), code=1)
    assert expected in said
    assert "Error" not in said
    theirs = independent(state / "keys/signing.pub.pem", f"--proof={tmp_path / 'spoilt'}")
    assert theirs.stderr == ""
    assert theirs.returncode == (0 if {"type", "since"} & {*spoil} else 1), "it looks at the records only"


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "[]", "{}", "", "null", "\udcff", "[" * 100_000])
def test_what_is_no_evidence_is_a_bad_argument_not_a_bad_ledger(
    state: Path, audit: Any, tmp_path: Path, content: str
) -> None:
    data = tmp_path / "data.csv"
    data.write_bytes(content.encode(errors="surrogateescape"))
    for words in (("verify", "--proof"), ("verify", "--checkpoint"), ("prove", "run-", "--since")):
        what, why, hint = audit(*words, str(data), code=125).splitlines()
        assert what.startswith(("hivebox: not a proof", "hivebox: cannot use the checkpoint", "hivebox: more than one"))
        assert "unpack" not in why
        assert hint.startswith("try:  ")


def test_the_independent_verifiers_say_in_one_line_what_they_cannot_use(state: Path, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b\n")
    (tmp_path / "list").write_text("[]")
    (tmp_path / "bad.pem").write_text("x")
    key, ledger = str(state / "keys/signing.pub.pem"), str(state / "audit/ledger.jsonl")
    for script, *words in (
        ("verify_ledger.py", "nofile", key),
        ("verify_ledger.py", ledger, str(tmp_path / "bad.pem")),
        ("verify_ledger.py", str(tmp_path), key),
        ("verify_tree.py", key, f"--proof={tmp_path / 'data.csv'}"),
        ("verify_tree.py", key, f"--proof={tmp_path / 'none'}"),
        ("verify_tree.py", key, "--checkpoint=nofile", ledger),
    ):
        command = [sys.executable, str(ROOT / "scripts" / script), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("cannot use what was given: ")
        assert done.stderr.count("\n") == 1
    done = independent(key, f"--proof={tmp_path / 'list'}")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (1, "", 1)
    assert done.stdout.startswith("proof not in its form")


def test_another_users_ledger_needs_that_users_key(state: Path, audit: Any) -> None:
    golden, owner = str(ROOT / "tests/vectors/audit/golden.jsonl"), str(ROOT / "tests/vectors/audit/owner.pub.pem")
    assert "give that user's with --key PUB.pem" in audit("verify", "--ledger", golden, code=1)
    assert "--key" not in audit("verify", "--ledger", golden, "--key", owner)
    assert "--key" not in audit("verify")


# Segments


def segment_names(state: Path) -> list[str]:
    return sorted(path.name for path in (state / "audit").glob("segment-*"))


def test_segments_verify_together_and_alone(state: Path, audit: Any) -> None:
    audit("keep", "--segment-size", "64K")
    add(state, 30, filler=3000)
    audit("compress")
    assert segment_names(state)[0] == "segment-000000000000.jsonl.gz"
    assert len([name for name in segment_names(state) if name.endswith(".gz")]) >= 2
    assert rules(state) == []
    assert json.loads(audit("verify", "--json"))["runs"] == 33
    for name in segment_names(state):
        if name.endswith(".gz"):
            assert "good" in audit("verify", "--ledger", str(state / "audit" / name))
    assert len(json.loads(audit("list", "-n", "0", "--json"))) == 33
    packed = [str(path) for path in sorted((state / "audit").glob("*.gz"))]
    script = [sys.executable, str(ROOT / "scripts/verify_ledger.py"), *packed, str(state / "audit/ledger.jsonl")]
    assert subprocess.run([*script, str(state / "keys/signing.pub.pem")], check=False).returncode == 0
    (state / "audit" / segment_names(state)[0]).unlink()
    (state / "audit" / "segment-000000000000.leaves").unlink()
    assert "gap" in rules(state), "a removed segment is named"


def test_a_rotation_that_is_killed_half_way_is_finished_by_the_next_append(state: Path) -> None:
    code = "import os, sys\nfrom hivebox.audit import ledger, place\n"
    code += "place.save = lambda *_: os._exit(9)\nledger.Ledger(sys.argv[1]).rotate()"
    assert subprocess.run([sys.executable, "-c", code, str(state)], cwd=ROOT, check=False).returncode == 9
    assert segment_names(state) == ["segment-000000000000.jsonl"]
    assert rules(state) == []
    add(state, 1)
    Ledger(str(state)).rotate()
    add(state, 1)
    assert rules(state) == []
    assert len(list(segments.read_lines(str(state / "audit")))) == 11


def test_a_damaged_compressed_segment_is_an_error(state: Path, audit: Any) -> None:
    Ledger(str(state)).rotate()
    add(state, 1)
    audit("compress")
    packed = state / "audit/segment-000000000000.jsonl.gz"
    packed.write_bytes(packed.read_bytes()[:-20])
    assert "cannot read" in audit("verify", code=125)


def test_pruning_leaves_hashes_and_a_signed_statement(state: Path, audit: Any, tmp_path: Path) -> None:
    audit("checkpoint", "--witness", str(tmp_path / "kept"))
    (old,) = add(state, 1)
    audit("checkpoint")
    proof = tmp_path / "proof.json"
    proof.write_text(audit("prove", old))
    for _ in range(3):
        Ledger(str(state)).rotate()
        add(state, 2)
    assert "kept for ever" in audit("prune", code=125)
    audit("keep", "--keep-days", "30")
    assert "nothing is older" in audit("prune")
    removed = upkeep.prune(str(state), 30, time.time() + 31 * 86400)
    assert [(said["first_seq"], said["last_seq"]) for said in removed] == [(0, 7), (8, 12)]
    assert [name for name in segment_names(state) if "leaves" not in name] == ["segment-000000000013.jsonl"]
    said = json.loads(audit("verify", "--json", "--checkpoint", str(tmp_path / "kept")))
    assert said["good"]
    assert [found["rule"] for found in said["findings"]] == ["pruned"]
    audit("checkpoint", "--witness", str(tmp_path / "kept"))  # still consistent with what was kept before
    assert "good" in audit("verify", "--proof", str(proof)), "a copy of a pruned record is still proven"
    lines = (state / "audit/ledger.jsonl").read_bytes().splitlines()
    predicate = json.loads(base64.b64decode(json.loads(lines[-1])["payload"]))["predicate"]
    assert (predicate["event"], predicate["first_kept_seq"], predicate["policy"]) == ("pruned", 13, {"keep_days": 30})
    (state / "audit/segment-000000000013.jsonl").unlink()
    assert "gap" in rules(state), "what the statement does not cover was deleted"


def test_a_million_records_would_not_be_read_to_list_the_last(
    state: Path, monkeypatch: pytest.MonkeyPatch, audit: Any
) -> None:
    audit("keep", "--segment-size", "64K")
    add(state, 40, filler=3000)
    opened: list[str] = []
    monkeypatch.setattr(segments, "file_lines", lambda path: opened.append(path) or iter(()))
    assert len(json.loads(audit("list", "-n", "3", "--json"))) == 3
    assert opened == []


def test_an_append_only_ledger_is_written_recovered_rotated_and_pruned(state: Path, audit: Any) -> None:
    if "done" not in audit("keep", "--append-only", "on"):
        pytest.skip("needs root and a file system with chattr +a")
    path = state / "audit/ledger.jsonl"
    try:
        with pytest.raises(PermissionError):
            path.open("r+b")
        with pytest.raises(PermissionError):
            path.unlink()
        with path.open("ab") as file:
            file.write(b"torn")
        add(state, 1)
        for _ in range(2):
            audit("rotate")
            add(state, 1)
        audit("compress")
        assert rules(state) == []
        assert len(list((state / "audit").glob("*.gz"))) == 2
        said = [entry.record for entry in history.entries(segments.read_lines(str(state / "audit")))]
        assert [r.predicate["append_only"]["set"] for r in said if r.event == "segment"] == [True, True]
    finally:
        assert "done" in audit("keep", "--append-only", "off")
    path.unlink()


# Keys


def test_a_rotated_key_is_trusted_from_its_record_on_and_the_old_one_is_not(
    state: Path, audit: Any, tmp_path: Path
) -> None:
    first = tmp_path / "first.pem"
    shutil.copy(state / "keys/signing.pub.pem", first)
    stale = Ledger(str(state))
    stale.prepare()
    thief = keys.load_signer(str(state))
    audit("key", "rotate")
    stale.append("started", "by-a-process-that-had-the-old-key", [], {})
    add(state, 1)
    assert "good" in audit("verify", "--key", str(first)), "the old key signed the new one"
    assert audit("key", "list").count("replaced") == 1
    # Who stole the old key cannot go on with it.
    forged = Ledger(str(state))
    forged._signer_for = lambda _found: thief  # type: ignore[method-assign]
    forged.append("started", "by-a-thief", [], {})
    assert rules(state) == ["expired"]


@pytest.mark.parametrize("at", ["take_over", "prepare_next"])
def test_a_rotation_that_is_killed_is_finished_or_forgotten(state: Path, at: str) -> None:
    code = "import os, sys\nfrom hivebox.audit import keys, rotation\n"
    code += f"real = keys.{at}\nkeys.{at} = lambda *a: {'real(*a) and ' if at == 'prepare_next' else ''}os._exit(9)\n"
    code += "rotation.rotate(sys.argv[1], '', '')"
    before = keys.load_signer(str(state)).keyid
    assert subprocess.run([sys.executable, "-c", code, str(state)], cwd=ROOT, check=False).returncode == 9
    add(state, 1)
    assert (keys.load_signer(str(state)).keyid == before) is (at == "prepare_next")
    assert rules(state) == []


def test_a_revoked_key_and_one_with_a_last_day(state: Path, audit: Any) -> None:
    old = keys.load_signer(str(state))
    assert "first: hivebox audit key rotate" in audit("key", "revoke", old.keyid[:8], code=125)
    audit("key", "rotate")
    audit("key", "revoke", old.keyid[:8], "--reason", "laptop lost")
    assert audit("key", "list").count("revoked") == 1
    audit("checkpoint")
    add(state, 1)
    audit("checkpoint")
    assert rules(state) == []
    assert "2020-01-01T23:59:59.999999Z is past" in audit("key", "rotate", "--not-after", "2020-01-01", code=125)
    audit("key", "rotate", "--not-after", "2100-01-01")
    add(state, 1)
    assert rules(state) == []


@pytest.fixture
def ssh_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if not shutil.which("ssh-agent"):
        pytest.skip("needs ssh-agent")
    path = str(tmp_path / "agent")
    with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL) as agent:
        while not os.path.exists(path):
            time.sleep(0.02)
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        key = str(tmp_path / "id")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        subprocess.run(["ssh-add", "-q", key], check=True)
        os.unlink(key)  # only the agent has it now
        yield key + ".pub"
        agent.terminate()


def test_an_ssh_agent_signs(state: Path, audit: Any, ssh_agent: str) -> None:
    audit("key", "rotate", "--to", f"ssh-agent:{ssh_agent}")
    assert not (state / "keys/signing.pem").exists()
    add(state, 2)
    audit("checkpoint")
    assert rules(state, every_signature=True) == []
    subprocess.run(["ssh-add", "-q", "-D"], check=True)
    before = (state / "audit/ledger.jsonl").read_bytes()
    with pytest.raises(HiveboxError, match="ssh-agent refused") as caught:
        add(state, 1)
    assert caught.value.exit_code == 125
    assert (state / "audit/ledger.jsonl").read_bytes() == before
    assert "does not have" in audit("key", "rotate", "--to", f"ssh-agent:{ssh_agent}", code=125)


def test_a_token_signs(state: Path, audit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not SOFTHSM.exists() or not shutil.which("pkcs11-tool"):
        pytest.skip("needs softhsm2 and opensc")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "hsm.conf").write_text(f"directories.tokendir = {tmp_path / 'tokens'}\nobjectstore.backend = file\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "hsm.conf"))
    quiet = {"capture_output": True}
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", "audit", "--pin", "1234", "--so-pin", "1" * 8],
        check=True,
        **quiet,
    )  # type: ignore[call-overload]
    make = [
        "--token-label",
        "audit",
        "-l",
        "--pin",
        "1234",
        "--keypairgen",
        "--key-type",
        "EC:edwards25519",
        "--label",
        "ledger",
    ]
    subprocess.run(["pkcs11-tool", "--module", str(SOFTHSM), *make], check=True, **quiet)  # type: ignore[call-overload]
    (tmp_path / "pin").write_text("1234\n")
    audit("key", "rotate", "--to", f"pkcs11:{SOFTHSM},audit,ledger,{tmp_path / 'pin'}")
    assert not (state / "keys/signing.pem").exists()
    add(state, 2)
    assert rules(state, every_signature=True) == []
    for wrong in (
        f"{SOFTHSM},other,ledger,{tmp_path / 'pin'}",
        f"{SOFTHSM},audit,other,{tmp_path / 'pin'}",
        f"/none.so,audit,ledger,{tmp_path / 'pin'}",
    ):
        audit("key", "rotate", "--to", f"pkcs11:{wrong}", code=125)
    (tmp_path / "pin").write_text("9999\n")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom tests.unit.test_audit_evidence import add\nfrom pathlib import Path\nadd(Path(sys.argv[1]), 1)"
    done = subprocess.run([sys.executable, "-c", code, str(state)], capture_output=True, text=True, check=False)
    assert "the token refused" in done.stderr


def test_a_settings_file_of_nonsense_stops_the_run(state: Path) -> None:
    for text in ("{", '{"checkpoint_every": -1}', '{"x": 1}', "[]", '{"segment_bytes": 1.5}'):
        (state / "audit/settings.json").write_text(text)
        with pytest.raises(HiveboxError, match="settings"):
            add(state, 1)
    (state / "audit/settings.json").unlink()
    settings.save(str(state), settings.Settings(checkpoint_every=0))
    add(state, 1)
