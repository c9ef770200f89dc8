"""``hivebox seccomp``: what it prints, and its errors."""

import json
from pathlib import Path

import pytest

from hivebox.cli.seccomp import run
from hivebox.errors import HiveboxError


def test_import_prints_a_section_and_its_notes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "oci.json"
    entries = [
        {"names": ["read", "ptrace", "stime"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}},
    ]
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": entries}), encoding="utf-8")
    assert run(["import", str(path)]) == 0
    printed = capsys.readouterr()
    assert printed.out == "syscalls:\n  allow: [ptrace, read]\n"
    assert printed.err == (
        "note: bpf: only with CAP_BPF, which no payload has; not granted\n"
        "note: not calls of a 64-bit machine, never reachable: stime\n"
        "note: dangerous, and granted since the file does: ptrace. `hivebox profile check` says why\n"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "cannot import"), ("\x00", "cannot import"), ("[]", "not an OCI seccomp profile"), (None, "cannot import")],
)
def test_import_of_bad_input_is_three_lines(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "oci.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(HiveboxError, match=message) as caught:
        run(["import", str(path)])
    assert caught.value.why
    assert caught.value.hint


def test_import_of_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "oci.json"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(HiveboxError, match="cannot import"):
        run(["import", str(path)])


def test_show_names_every_call_and_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "strict", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert run(["show", "strict"]) == 0
    text = capsys.readouterr().out
    assert f"sha256 {facts['sha256']}" in text
    assert set(facts["allowed"]) | set(facts["quiet"]) <= set(text.replace(":", " ").split())
    assert "execve" not in facts["allowed"]
    assert facts["allowed"]["chmod"] == {
        "group": "@base",
        "reason": "change files; what is writable is decided by the mounts",
        "only": "without set-user-ID and set-group-ID bits",
    }


def test_export_then_import_grants_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "strict"]) == 0
    path = tmp_path / "oci.json"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    assert run(["import", str(path)]) == 0
    assert capsys.readouterr().out == 'syscalls:\n  groups: ["@base", "@python"]\n'


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["show"], ["export", "a", "b"]])
def test_usage_errors(argv: list[str]) -> None:
    with pytest.raises(HiveboxError, match="hivebox seccomp"):
        run(argv)
