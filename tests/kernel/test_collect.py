"""--out: what a hostile work directory can do to whoever collects it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hivebox.policy.model import Filesystem, Mount, Outputs
from tests.harness import LIMITS, Runner, policy

PYTHON = "/usr/bin/python3"


def collect(runner: Runner, code: str, out: Path, **bounds: float):
    chosen = policy(outputs=Outputs(**bounds), limits=LIMITS._replace(workdir_inodes=5000))
    report = runner.command(PYTHON, "-c", f"import os, socket\n{code}", policy=chosen, out_dir=str(out))
    assert report.outcome == "ok", report.stderr
    return report.files


def test_files_and_directories_with_their_hashes(runner: Runner, tmp_path: Path) -> None:
    files = collect(runner, "os.makedirs('a/b'); open('a/b/c', 'w').write('x'); open('d', 'w')", tmp_path / "out")
    assert {file.path: file.size_bytes for file in files} == {"a/b/c": 1, "d": 0}
    assert (tmp_path / "out/a/b/c").read_text() == "x"
    assert next(file for file in files if file.path == "a/b/c").sha256 == hashlib.sha256(b"x").hexdigest()


def test_where_a_grant_was_nothing_is_collected(runner: Runner, scratch: Path) -> None:
    """README's example: data in /work beside the results."""
    for name in ("data.csv", "directory/file"):
        (scratch / name).parent.mkdir(exist_ok=True)
        (scratch / name).write_text("data")
    mounts = [Mount(str(scratch / name), f"/work/{name}", "read_only") for name in ("data.csv", "directory")]
    chosen = policy(filesystem=Filesystem(mounts=tuple(mounts)))
    report = runner.command("sh", "-c", "cp data.csv copy", policy=chosen, out_dir=str(scratch / "out"))
    assert [(file.path, file.skipped) for file in report.files] == [("copy", "")], report.stderr
    assert [path.name for path in (scratch / "out").iterdir()] == ["copy"]


def test_tmp_is_not_collected(runner: Runner, tmp_path: Path) -> None:
    assert collect(runner, "open('/tmp/x', 'w'); open('/dev/shm/y', 'w')", tmp_path) == ()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os.symlink('/etc/passwd', 'x')", "not a regular file"),
        ("os.symlink('/etc', 'x')", "not a regular file"),
        ("os.mkfifo('x')", "not a regular file"),
        ("socket.socket(socket.AF_UNIX).bind('x')", "not a regular file"),
        ("open('x', 'w'); os.link('x', 'y'); os.rename('y', '/work/z')", "more than one name"),
        ("open('x', 'w').truncate(60 << 20)", "size bound"),
        ("[(os.mkdir('x'), os.chdir('x')) for _ in range(40)]; open('f', 'w')", "deeper than"),
    ],
)
def test_what_is_left_out_and_why(runner: Runner, tmp_path: Path, code: str, reason: str) -> None:
    files = collect(runner, code, tmp_path / "out", max_size_bytes=50 << 20)
    assert files
    assert all(reason in file.skipped for file in files)
    assert not [path for path in (tmp_path / "out").rglob("*") if not path.is_dir()]


def test_no_more_files_than_the_bound(runner: Runner, tmp_path: Path) -> None:
    files = collect(runner, "[open(str(n), 'w').close() for n in range(500)]", tmp_path / "out", max_files=50)
    assert len([file for file in files if not file.skipped]) == 50
    assert any("more than 50 files" in file.skipped for file in files)


def test_nothing_is_overwritten(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    files = collect(runner, "open('x', 'w').write('theirs')", tmp_path)
    assert (tmp_path / "x").read_text() == "mine"
    assert "exists" in files[0].skipped


def test_a_link_in_the_output_directory_is_not_followed(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "d").symlink_to(tmp_path / "elsewhere")
    collect(runner, "os.mkdir('d'); open('d/f', 'w')", tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_unreadable_modes_are_no_obstacle_and_no_setuid_comes_out(runner: Runner, tmp_path: Path) -> None:
    collect(runner, "open('x', 'w').write('1'); os.chmod('x', 0o777)", tmp_path / "out")
    assert (tmp_path / "out/x").stat().st_mode & 0o7777 == 0o644


def test_names_that_are_not_text(runner: Runner, tmp_path: Path) -> None:
    files = collect(runner, "open(b'/work/\\xff\\n', 'w')", tmp_path / "out")
    assert len(files) == 1
    assert list((tmp_path / "out").iterdir())


def test_a_result_that_does_not_arrive_is_a_failure(hivebox, tmp_path: Path) -> None:
    (tmp_path / "result").write_text("of yesterday")
    done = hivebox("run", "--out", str(tmp_path), "--", "python3", "-c", "open('result', 'w').write('of today')")
    assert done.returncode == 125
    assert b"not collected: result: exists" in done.stderr
    done = hivebox("run", "--out", str(tmp_path), "--", "python3", "-c", "import os; os.mkfifo('pipe')")
    assert done.returncode == 0, "nobody expects a pipe to arrive"
