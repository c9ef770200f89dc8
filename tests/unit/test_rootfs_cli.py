"""``hivebox rootfs`` as a user types it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

RECIPE = "description: small\nprograms: {required: [cat]}\n"


@pytest.fixture
def rootfs(hivebox, tmp_path):
    (tmp_path / "config/rootfs").mkdir(parents=True)
    (tmp_path / "config/rootfs/small.yaml").write_text(RECIPE)
    environment = {
        **os.environ,
        "HIVEBOX_STATE": str(tmp_path / "state"),
        "HIVEBOX_CONFIG": str(tmp_path / "config"),
    }
    return lambda *arguments: hivebox("rootfs", *arguments, env=environment, text=True)


def test_build_prints_the_digest_and_nothing_else_in_a_pipe(rootfs):
    first = rootfs("build", "small")
    assert re.fullmatch(r"[0-9a-f]{64}\n", first.stdout)
    assert first.stderr == ""
    assert rootfs("build", "small").stdout == first.stdout


def test_list(rootfs, tmp_path):
    assert rootfs("list", "--json").stdout == "[]\n"
    digest = rootfs("build", "small").stdout.strip()
    (info,) = json.loads(rootfs("list", "--json").stdout)
    assert info["digest"] == digest
    assert info["uses"] == [["small", ""]]
    assert info["fresh"] is True
    assert info["size_bytes"] > os.path.getsize("/usr/bin/cat")
    assert re.match(rf"{digest[:12]}  small +[\d.]+ MiB +\d+ files  current\n", rootfs("list").stdout)


def test_verify_tells_what_differs_by_exit_code_and_path(rootfs, tmp_path):
    digest = rootfs("build", "small").stdout.strip()
    good = rootfs("verify")
    assert (good.returncode, good.stdout) == (0, f"{digest[:12]}  ok\n")
    (tmp_path / "state/rootfs/trees" / digest / "usr/bin/cat").write_bytes(b"")
    bad = rootfs("verify", digest[:12])
    assert bad.returncode == 1
    assert "changed  '/usr/bin/cat'" in bad.stdout
    (result,) = json.loads(rootfs("verify", "--json").stdout)
    assert result == {"digest": digest, "ok": False, "differences": [{"kind": "changed", "path": "/usr/bin/cat"}]}
    assert rootfs("build", "small", "--force").returncode == 0
    assert rootfs("verify").returncode == 0


@pytest.mark.parametrize("manifest", ["{", "{}", "[]"])
def test_one_damaged_manifest_hides_no_other_tree(rootfs, tmp_path, manifest):
    good = rootfs("build", "small").stdout.strip()
    (tmp_path / "config/rootfs/other.yaml").write_text("programs: {required: [ls]}\n")
    bad = rootfs("build", "other").stdout.strip()
    (tmp_path / f"state/rootfs/trees/{bad}.json").write_text(manifest)
    listed = {line.split()[0]: line.split()[1] + " " + line.split()[-1] for line in rootfs("list").stdout.splitlines()}
    assert listed == {good[:12]: "small current", bad[:12]: "other damaged"}
    verified = rootfs("verify")
    assert verified.returncode == 1
    assert f"{good[:12]}  ok\n" in verified.stdout
    assert "the manifest itself" in verified.stdout
    assert verified.stdout.endswith("try:  hivebox rootfs build other --force\n")
    assert rootfs("prune").stdout == f"removed {bad[:12]}\n"
    assert rootfs("build", "other").stdout.strip() == bad
    assert rootfs("verify").returncode == 0


def test_prune(rootfs, tmp_path):
    digest = rootfs("build", "small").stdout.strip()
    assert rootfs("prune").stdout == ""
    (tmp_path / "config/rootfs/small.yaml").write_text("programs: {required: [ls]}\n")
    assert rootfs("prune").stdout == f"removed {digest[:12]}\n"
    assert json.loads(rootfs("list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build", "nosuch"], "no root filesystem recipe called nosuch"),
        (["build", "python", "--interpreter", "/no/such"], "cannot use the interpreter /no/such"),
        (["verify", "abc"], "cannot tell which root filesystem is meant by abc"),
        (["frobnicate"], "invalid choice"),
        (["build", "small", "--interpreter", "/bin/ls"], "has no interpreter"),
    ],
)
def test_mistakes_have_three_lines_and_no_traceback(rootfs, arguments, words):
    done = rootfs(*arguments)
    assert done.returncode >= 125
    assert words in done.stderr
    assert "\ntry:  " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_terminal_sees_progress(rootfs, tmp_path):
    """Only whoever waits at a terminal wants a bar."""
    import subprocess
    import sys

    leader, follower = os.openpty()
    environment = {**os.environ, "HIVEBOX_STATE": str(tmp_path / "other"), "HIVEBOX_CONFIG": str(tmp_path / "config")}
    environment["TERM"] = "xterm"  # a dumb one cannot show a bar
    command = [sys.executable, "-m", "hivebox", "rootfs", "build", "small"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=follower, check=True, env=environment, text=True)
    os.close(follower)
    assert b"\x1b[" in os.read(leader, 4096)
    os.close(leader)
    assert Path(tmp_path / "other/rootfs/trees" / done.stdout.strip()).is_dir()
