"""``hivebox audit`` as a command, through the one door that users have."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hivebox.audit import keys, statement, supervisor
from hivebox.audit.ledger import Ledger
from hivebox.cli.main import main

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests/vectors/audit"
SUBJECTS = [("script", "ab" * 32)]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HIVEBOX_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


class Said:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        assert "Traceback" not in out + err


@pytest.fixture
def audit(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*words: str) -> Said:
        code = main(["audit", *words])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return call


def record_run(
    state: Path, run_id: str, argv: list[str], outcome: str | None, who: dict[str, int] | None = None
) -> None:
    ledger = Ledger(str(state))
    request = {"request": {"argv": argv, "profile": "default"}, "supervisor": who or {}}
    ledger.append("started", run_id, SUBJECTS, request)
    if outcome:
        result = {"result": {"outcome": outcome, "exit_code": 0, "wall_s": 1.25}}
        ledger.append("finished", run_id, SUBJECTS, result)


def test_before_the_first_run(state: Path, audit: Any) -> None:
    assert audit("list").out == "no runs recorded yet\n"
    assert json.loads(audit("list", "--json").out) == []
    for words in (("verify",), ("show", "x"), ("checkpoint",), ("prove", "x"), ("rotate",)):
        said = audit(*words)
        assert (said.code, said.out) == (125, "")
        assert "no runs recorded yet" in said.err
    assert "ENOENT" in audit("list", "--ledger", str(state / "none")).err
    assert audit("stats").out.startswith("runs")
    assert not state.exists(), "looking makes nothing"


def test_list_is_newest_first_aligned_and_bounded(state: Path, audit: Any) -> None:
    record_run(state, "aaaa", ["python3", "one.py"], "ok")
    record_run(state, "bbbbbb", ["true"], "timeout")
    record_run(state, "cc", ["sleep", "9"], None)
    lines = audit("list").out.splitlines()
    assert [line.split()[0] for line in lines] == ["RUN", "cc", "bbbbbb", "aaaa"]
    assert re.fullmatch(
        r"aaaa    \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  default  ok          1.25 s  python3 one.py", lines[3]
    )
    assert len({line.index(word) for line, word in zip(lines[1:], ("incomplete", "timeout", "ok"), strict=True)}) == 1
    assert len(audit("list", "-n", "1").out.splitlines()) == 2
    assert [run["outcome"] for run in json.loads(audit("list", "--json").out)] == ["incomplete", "timeout", "ok"]


def test_a_live_run_is_told_from_a_dead_one(state: Path, audit: Any) -> None:
    me = supervisor.identify()
    record_run(state, "live", ["a"], None, me)
    record_run(state, "reused-pid", ["b"], None, {**me, "starttime_ticks": me["starttime_ticks"] + 1})
    record_run(state, "nobody", ["c"], None, {"pid": 2**22 + 1, "starttime_ticks": 1})
    record_run(state, "strange", ["d"], None, {"pid": -1, "starttime_ticks": 5})
    elsewhere = Ledger(str(state), clock=lambda: statement.now()._replace(boot_id="another boot or host"))
    elsewhere.append("started", "elsewhere", SUBJECTS, {"supervisor": me})
    outcomes = {run["run_id"]: run["outcome"] for run in json.loads(audit("list", "--json").out)}
    assert outcomes == dict.fromkeys(("nobody", "strange", "elsewhere"), "incomplete") | {
        "live": "running",
        "reused-pid": "aborted",
    }
    verdict = json.loads(audit("verify", "--json").out)
    assert (verdict["running"], verdict["incomplete"], verdict["good"]) == (1, 3, True)
    assert [(f["rule"], f["severity"]) for f in verdict["findings"]] == [("incomplete", "notice")] * 3


def test_show_by_id_by_prefix_and_the_errors(state: Path, audit: Any) -> None:
    record_run(state, "aaaa", ["x"], "ok")
    record_run(state, "aaab", ["y"], "failed")
    record_run(state, "aaa", ["z"], "ok")
    assert "run aaab: failed" in audit("show", "aaab").out
    assert "run aaa: ok" in audit("show", "aaa").out, "an exact id wins over those that begin with it"
    ambiguous = audit("show", "aa")
    assert (ambiguous.code, "aaa, aaab, aaaa" in ambiguous.err) == (125, True)
    assert audit("show", "q").code == 125
    shown = json.loads(audit("show", "aaaa", "--json").out)
    assert [record["statement"]["predicate"]["event"] for record in shown["records"]] == ["started", "finished"]
    assert [record["signature"] for record in shown["records"]] == ["good", "good"]


def test_show_says_that_a_signature_is_bad(state: Path, audit: Any) -> None:
    ledger, key = str(VECTORS / "edited-payload.jsonl"), str(VECTORS / "owner.pub.pem")
    shown = audit("show", "run-a", "--ledger", ledger, "--key", key).out
    assert "started (record 0, signature good)" in shown
    assert "finished (record 2, signature bad (signature: " in shown


def test_verify_good_and_with_heads(state: Path, audit: Any) -> None:
    record_run(state, "a", ["x"], "ok")
    said = audit("verify")
    assert (said.code, said.out.splitlines()[-1]) == (0, "result       good")
    head = re.search(r"^head +(\d+:[0-9a-f]{64})$", said.out, re.MULTILINE)
    assert head is not None
    record_run(state, "b", ["x"], "ok")
    assert audit("verify", "--head", head[1]).code == 0
    later = json.loads(audit("verify", "--json").out)["head"]
    ledger = state / "audit/ledger.jsonl"
    ledger.write_bytes(b"".join(ledger.open("rb").readlines()[:2]))
    assert audit("verify").code == 0
    cut_off = audit("verify", "--head", later)
    assert cut_off.code == 1
    assert cut_off.out.startswith("ledger     error    head: expected 3:")


def test_verify_names_the_first_bad_line(state: Path, audit: Any) -> None:
    said = audit("verify", "--ledger", str(VECTORS / "edited-payload.jsonl"), "--key", str(VECTORS / "owner.pub.pem"))
    assert said.code == 1
    assert said.out.startswith("line 3     error    signature: expected a signature by ")
    assert said.out.splitlines()[-1].startswith("result       BAD")
    machine = audit(
        "verify", "--json", "--ledger", str(VECTORS / "swapped.jsonl"), "--key", str(VECTORS / "owner.pub.pem")
    )
    assert machine.code == 1
    assert [f["line"] for f in json.loads(machine.out)["findings"] if f["rule"] == "order"] == [5, 6]


def test_many_findings_are_cut_short_for_people_only(state: Path, audit: Any, tmp_path: Path) -> None:
    (tmp_path / "garbage").write_bytes(b"x\n" * 50)
    words = ("verify", "--ledger", str(tmp_path / "garbage"), "--key", str(VECTORS / "owner.pub.pem"))
    assert "and 30 more: hivebox audit verify --json" in audit(*words).out
    assert len(json.loads(audit(*words, "--json").out)["findings"]) == 50


def test_several_keys(state: Path, audit: Any, tmp_path: Path) -> None:
    (tmp_path / "stranger.pem").write_bytes(keys.public_to_pem(bytes(range(32))))
    record_run(state, "a", ["x"], "ok")
    own = str(state / "keys/signing.pub.pem")
    assert audit("verify", "--key", str(tmp_path / "stranger.pem")).code == 1
    assert audit("verify", "--key", str(tmp_path / "stranger.pem"), "--key", own).code == 0


def test_key(state: Path, audit: Any) -> None:
    said = audit("key")
    public = keys.public_from_pem((state / "keys/signing.pub.pem").read_bytes())
    assert f"keyid    {keys.keyid_of(public)}\n" in said.out
    assert f"private  {state}/keys/signing.pem\n" in said.out
    assert audit("key", "--public").out == keys.public_to_pem(public).decode()
    assert "PRIVATE" not in said.out


def test_a_record_cannot_drive_the_terminal_or_fake_lines(state: Path, audit: Any) -> None:
    record_run(state, "a", ["\x1b]0;owned\x07", "x\nRUN  fake  ok", "\u202eevil", "\udcff", "\x9b31m"], "ok\x1b[2J")
    for words in (("list",), ("show", "a"), ("show", "a", "--json"), ("list", "--json"), ("verify",)):
        out = audit(*words).out
        assert all(c.isprintable() or c == "\n" for c in out)
        assert not [line for line in out.splitlines() if line.startswith("RUN  fake")]


def test_records_of_another_shape_are_listed_all_the_same(state: Path, audit: Any) -> None:
    ledger = Ledger(str(state))
    for number, request in enumerate([None, 5, [], {"argv": 7, "profile": {}}, {"argv": [1, None, {"a": []}]}]):
        ledger.append("started", f"r{number}", SUBJECTS, {"request": request, "supervisor": request})
        ledger.append("finished", f"r{number}", [], {"result": request})
        assert audit("show", f"r{number}").code == 0
    ledger.append("finished", "alone", SUBJECTS, {"result": {"wall_s": "x"}})
    assert audit("list").code == 0
    assert audit("show", "alone").code == 0
    assert len(json.loads(audit("list", "--json").out)) == 6


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("bogus",),
        ("list", "-n", "x"),
        ("list", "-n", "-1"),
        ("list", "--since", "2026-13-45"),
        ("list", "--since", "2026-02-30"),
        ("list", "--until", "2026-99-99"),
        ("stats", "--since", "2026-01-01T25:00"),
        ("list", "--since", "0000"),
        ("list", "--since", "20260101"),
        ("list", "--since", "999999999999999d"),
        ("list", "--since", "\u0661h"),
        ("list", "--outcome", "bogus"),
        ("list", "--ledger", "/etc/passwd"),
        ("grep", "x", "--ledger", "/etc/passwd"),
        ("show", "a", "--ledger", "/etc/passwd"),
        ("tail", "--ledger", "/etc/passwd"),
        ("show",),
        ("verify", "--head", "5"),
        ("verify", "--head", "x:" + "a" * 64),
        ("verify", "--head", "5:" + "A" * 64),
        ("verify", "--ledger", "/"),
        ("verify", "--ledger", "/dev/null/x"),
        ("verify", "--key", "/dev/null"),
        ("verify", "--key", "/"),
        ("verify", "--nonsense"),
    ],
)
def test_bad_input_is_three_lines_not_a_traceback(state: Path, audit: Any, words: tuple[str, ...]) -> None:
    record_run(state, "a", ["x"], "ok")
    said = audit(*words)
    assert said.code == 125
    assert said.out == ""
    assert said.err.startswith("hivebox: ")
    assert not said.err.startswith("hivebox: hivebox")
    assert 2 <= len(said.err.splitlines()) <= 3


@pytest.mark.parametrize(
    "when", ["2026", "2026-02", "2024-02-29", "2026-01-31T12:00", "2026-01-31 12:00:59Z", "2h", "9d"]
)
def test_times_and_outcomes_that_there_are(state: Path, audit: Any, when: str) -> None:
    record_run(state, "a", ["x"], "ok")
    assert audit("list", "--since", when, "--outcome", "ok").out.count("\n") == 2
    assert audit("list", "--until", when).out == "no such runs\n"
    assert audit("list", "--outcome", "running").out == "no such runs\n"


@pytest.mark.parametrize("words", [("--help",), ("list", "--help"), ("verify", "-h")])
def test_help(audit: Any, words: tuple[str, ...]) -> None:
    said = audit(*words)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("usage: hivebox audit")


def test_a_reader_that_went_away_and_a_narrow_encoding(state: Path) -> None:
    record_run(state, "a", ["\u00e9\u4e16"], "ok")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "hivebox", "audit", "list"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "\\xe9\\u4e16" in done.stdout
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    gone = subprocess.run(command, cwd=ROOT, stdout=write_fd, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_fd)
    assert (gone.returncode, gone.stderr) == (141, "")


def test_an_auditors_copy_of_someone_elses_ledger_needs_no_ownership(state: Path, audit: Any, tmp_path: Path) -> None:
    shutil.copy(VECTORS / "golden.jsonl", tmp_path / "copy")
    if os.geteuid() == 0:
        os.chown(tmp_path / "copy", 65534, 65534)
    (tmp_path / "copy").chmod(0o444)
    said = audit("verify", "--ledger", str(tmp_path / "copy"), "--key", str(VECTORS / "owner.pub.pem"))
    assert said.code == 0
    assert "recovered" in said.out


def test_keep_speaks_of_its_options_and_rotate_of_what_it_did(state: Path, audit: Any) -> None:
    record_run(state, "a", ["x"], "ok")
    names = [
        line.split()[0] for line in audit("keep", "--segment-size", "16M", "--append-only", "off").out.splitlines()
    ]
    assert names[-4:] == ["checkpoint-every", "segment-size", "keep-days", "append-only"]
    assert "segment-size      16 MiB\n" in audit("keep").out
    assert audit("rotate").out == "closed; the next record begins a new segment\n"
    assert audit("rotate").out.startswith("nothing to close")
    record_run(state, "b", ["x"], "ok")
    assert audit("rotate").out.startswith("closed")
