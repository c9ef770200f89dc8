"""The command's own streams, its directory and its state, when they are full, closed, gone or read-only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hivebox.audit.ledger import Ledger
from tests import lacking
from tests.harness import slack_s

PRINTING = [
    ("--help",),
    ("audit", "--help"),
    ("audit", "list"),
    ("profile", "list"),
    ("seccomp", "export", "default"),
    ("doctor",),
    ("run", "--help"),
    ("run", "--dry-run", "--", "true"),
    ("run", "--json", "--", "true"),
]


def shell(line: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``hivebox ARGUMENTS``, its streams redirected by a shell."""
    command = ["sh", "-c", f'exec "$@" {line}', "sh", sys.executable, "-m", "hivebox", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60 + 20 * slack_s(), check=False)


@pytest.mark.parametrize(("line", "cause"), [(">/dev/full", "ENOSPC"), (">&-", "EBADF")])
@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_output_that_is_lost_is_an_error(arguments: tuple[str, ...], line: str, cause: str) -> None:
    done = shell(line, *arguments)
    what, why, hint = done.stderr.splitlines()
    assert done.returncode == 125
    assert what == "hivebox: cannot print the output"
    assert why.startswith("why:  standard output: ") and cause in why
    assert hint.startswith("try:  redirect it")


@pytest.mark.parametrize("line", ["2>/dev/full", "2>&-"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("run", "--timeout", "0.3s", "--", "sleep", "9"), 124),
        (("run", "--", "python3", "-c", "import os; os.system('true'); os._exit(3)"), 3),
        (("run", "--no-such-option"), 125),
        (("run", "--", "no-such-program"), 127),
        (("profile", "list"), 0),
        (("profile", "show", "no-such"), 125),
        (("doctor", "--json"), 0),
    ],
)
def test_an_unwritable_stderr_changes_no_exit_code(arguments: tuple[str, ...], code: int, line: str) -> None:
    assert shell(line, *arguments).returncode == code


def test_a_closed_stdin_is_empty() -> None:
    done = shell("<&-", "seccomp", "import", "-")
    assert done.returncode == 125
    assert done.stderr.startswith("hivebox: cannot import -")
    done = shell("<&-", "run", "--stdin", "inherit", "--", "cat")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "arguments",
    [("run", "x.py"), ("profile", "show", "./x.yaml"), ("run", "--project", ".", "--", "true")],
    ids=" ".join,
)
def test_a_directory_that_is_gone(scratch: Path, arguments: tuple[str, ...]) -> None:
    gone = scratch / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["sh", "-c", 'cd "$0" && rmdir "$0" && exec "$@"', str(gone), sys.executable, "-m", "hivebox", *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    what, why, hint = done.stderr.splitlines()
    assert done.returncode == 125
    assert what == "hivebox: there is no current directory"
    assert "ENOENT" in why
    assert hint == "try:  cd to one that exists"


def test_a_read_only_state_is_named(
    hivebox: Callable[..., subprocess.CompletedProcess[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    Ledger(str(state)).append("started", "a", [], {})
    environment = {**os.environ, "HIVEBOX_STATE": str(state)}
    monkeypatch.chdir(tmp_path)
    for command in (("checkpoint",), ("export", "--to", "file:out")):
        assert hivebox("audit", *command, env=environment).returncode == 0
    Ledger(str(state)).append("finished", "a", [], {})
    for command in (
        ("audit", "checkpoint"),
        ("audit", "export", "--to", "file:out"),
        ("audit", "export", "--to", "file:out", "--name", "other"),
        ("audit", "keep", "--keep-days", "3"),
        ("audit", "key", "rotate"),
    ):
        change = lacking.in_mount_namespace(lacking.read_only(str(state)))
        done = hivebox(*command, env=environment, preexec_fn=change)
        what, why, hint = done.stderr.decode().splitlines()
        assert done.returncode == 125
        assert what.startswith("hivebox: cannot "), done.stderr
        assert f"{state}/" in why and "EROFS" in why
        assert hint.startswith("try:  make it ")
