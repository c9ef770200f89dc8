"""The cache of images: whole or absent, whatever happens to a builder. The builder here is a small one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import image
import pytest
import scratch

from tests.harness import wait_for

BUILDER = """#!/bin/sh
mkdir "$2/root" && mount -t tmpfs builder "$2/root" && touch "$2/root/file"
echo half >"$2/root.ext4"
[ ! -e "$2/../slow" ] || { touch "$2/../begun"; sleep 60.5; }
echo whole >"$2/root.ext4"; echo kernel >"$2/vmlinuz"; echo "$$" >>"$2/../builds"
umount "$2/root"; rmdir "$2/root"; rm -rf "$2/tree"
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "build-image").write_text(BUILDER)
    (tmp_path / "build-image").chmod(0o755)
    monkeypatch.setattr(image, "_HERE", tmp_path)
    monkeypatch.setattr(image, "_download_wheels", lambda python, work: None)
    return image.cache_dir()


def fork_builder() -> int:
    pid = os.fork()
    if pid == 0:
        try:
            with image.ready("trixie"):
                os._exit(0)
        finally:
            os._exit(1)
    return pid


@pytest.mark.root
def test_a_builder_that_is_killed_leaves_no_image_and_nothing_running(cache: Path) -> None:
    (cache / "slow").touch()
    pid = fork_builder()
    assert wait_for((cache / "begun").exists, 30)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    pgrep = ["pgrep", "-f", str(cache)]
    assert wait_for(lambda: subprocess.run(pgrep, check=False, stdout=subprocess.DEVNULL).returncode == 1, 30)
    assert not list(cache.glob("trixie-*"))
    assert str(cache) not in Path("/proc/self/mountinfo").read_text()
    assert list(cache.glob(".trixie-*"))
    (cache / "slow").unlink()
    with image.ready("trixie") as built:
        assert built.disk.read_text() == "whole\n"
    assert not list(cache.glob(".trixie-*")), "the next builder tidies up"


@pytest.mark.root
def test_two_at_once_build_once(cache: Path) -> None:
    pids = [fork_builder() for _ in range(3)]
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    assert len((cache / "builds").read_text().splitlines()) == 1


@pytest.mark.root
def test_a_failed_build_is_an_error_and_no_image(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "build-image").write_text("#!/bin/sh\necho half >$2/root.ext4\nexit 3\n")
    with pytest.raises(image.HiveboxError, match="cannot build for a guest"), image.ready("trixie"):
        pass
    assert sorted(each.name for each in cache.iterdir()) == ["trixie.lock"]


@pytest.mark.root
def test_old_images_go_unless_in_use(cache: Path) -> None:
    old, used, last = (cache / f"trixie-{name}" for name in ("old", "used", "last"))
    for age, directory in enumerate((last, old, used)):
        directory.mkdir()
        os.utime(directory, (1000 - age, 1000 - age))
    with holder(used), image.ready("trixie") as built:
        assert not old.exists()
        assert used.exists()
        assert last.exists()
    with image.ready("trixie") as again:
        assert again == built, "what was used last is kept"
    assert not used.exists()
    assert len((cache / "builds").read_text().splitlines()) == 1


@contextmanager
def holder(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds a directory, as a runner holds its image and its scratch directory."""
    code = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_SH); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, directory]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.stdin.close()


def test_what_a_dead_runner_left_goes_and_what_a_live_one_uses_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead, live, link = (tmp_path / f"hivebox-guest-{name}" for name in ("dead", "live", "link"))
    for directory in (dead, live, tmp_path / "somebody's"):
        directory.mkdir()
        (directory / "result").touch()
    link.symlink_to(tmp_path / "somebody's")
    with holder(live), scratch.directory() as first:
        assert not dead.exists()
        with scratch.directory() as second:
            assert all(directory.is_dir() for directory in (first, second, live))
        assert not second.exists()
    assert not first.exists()
    assert (tmp_path / "somebody's" / "result").exists(), "no link is followed"
