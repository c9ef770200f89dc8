"""What goes into a guest and what comes out of it, without booting one."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from pathlib import Path

import job as jobs
import machine
import pytest


def disk(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    """A result disk as a guest writes it: a tar with room behind it."""
    with tarfile.open(path, "w") as tar:
        for member, content in members:
            member.size = len(content) or member.size
            tar.addfile(member, io.BytesIO(content) if content else None)
    with path.open("ab") as file:
        file.truncate(path.stat().st_size + (1 << 20))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


STATUS = (member("./status"), b"7\n")


def test_status_and_files_come_out(tmp_path: Path) -> None:
    found = jobs.unpack(disk(tmp_path / "disk", (member(".", tarfile.DIRTYPE), b""), STATUS, (member("./a.xml"), b"x")))
    assert found == jobs.Result(7, {"a.xml": b"x"})


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "./../escaped", "../escaped", "./a/b", "./.hidden", "./-option", "./new\nline", "./" + "x" * 200],
)
def test_only_plain_names_come_out(tmp_path: Path, name: str) -> None:
    assert jobs.unpack(disk(tmp_path / "disk", (member(name), b"x"), STATUS)) == jobs.Result(7, {})


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_only_regular_files_come_out(tmp_path: Path, kind: bytes) -> None:
    """A symbolic link named like a file would be written through, and a hard link would show another member."""
    assert jobs.unpack(disk(tmp_path / "disk", (member("./a", kind, "/etc/passwd"), b""), STATUS)) == jobs.Result(7, {})


def test_a_file_of_holes_does_not_come_out(tmp_path: Path) -> None:
    """A sparse file of a few bytes can claim any size: read whole, it fills the memory."""
    hole = member("./hole")
    hole.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.name": "./hole",
                        "GNU.sparse.size": str(1 << 40), "GNU.sparse.map": "0,0"}  # fmt: skip
    assert jobs.unpack(disk(tmp_path / "disk", STATUS, (hole, b"x"))) == jobs.Result(7, {})


@pytest.mark.parametrize("status", [b"", b"0", b"-1\n", b"256\n", b"1e2\n", b"0\n0\n", "٣\n".encode()])
def test_a_broken_status_is_no_result(tmp_path: Path, status: bytes) -> None:
    assert jobs.unpack(disk(tmp_path / "disk", (member("./status"), status))) is None


@pytest.mark.parametrize("content", [b"", bytes(4096), b"\xff" * 4096, b"./status" + b"\x80" * 504])
def test_rubbish_is_no_result(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "disk").write_bytes(content)
    assert jobs.unpack(tmp_path / "disk") is None


def test_a_command_arrives_word_for_word(tmp_path: Path) -> None:
    words = ("it's", "$HOME `id`", "a\nb", '"', "", "*", "-n")
    jobs.Job(("printf", "%s|", *words), environment=("A=b c; exit 9",)).pack(tmp_path / "disk")
    with tarfile.open(tmp_path / "disk") as tar:
        script = tar.extractfile("job/command").read()
    assert (
        subprocess.run(["sh"], input=script, capture_output=True, check=True).stdout.decode() == "|".join(words) + "|"
    )


def test_the_tree_is_the_working_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed and new files as they are, no deleted and no ignored ones; owned by the guest's user."""
    monkeypatch.setattr(jobs, "ROOT", tmp_path / "tree")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / ".gitignore").write_text("*.secret\n")
    (tree / "changed").write_text("old")
    (tree / "gone").write_text("old")
    subprocess.run("git init -q && git add -A", shell=True, cwd=tree, check=True)
    (tree / "changed").write_text("new")
    (tree / "gone").unlink()
    (tree / "key.secret").write_text("mine")
    (tree / "untracked").write_text("new")
    jobs.Job(("true",)).pack(tmp_path / "disk")
    with tarfile.open(tmp_path / "disk") as tar:
        packed = {each.name: each for each in tar if each.name.startswith("hivebox/")}
        assert sorted(packed) == ["hivebox/.gitignore", "hivebox/changed", "hivebox/untracked"]
        assert tar.extractfile("hivebox/changed").read() == b"new"
        assert {(each.uid, each.gid) for each in packed.values()} == {(1000, 1000)}


def test_the_time_of_a_file_follows_from_its_content(tmp_path: Path) -> None:
    """Otherwise stale bytecode of an image would be run."""
    path = tmp_path / "module.py"
    times = []
    for text in ("a = 1\n", "a = 2\n", "a = 1\n"):
        path.write_text(text)
        times.append(jobs.stable_mtime(path))
    assert times[0] == times[2] != times[1]


def test_a_guest_cannot_steer_the_terminal() -> None:
    hostile = "ok\t\x1b]0;owned\x07\x9b2J\u202e\r\n"
    assert machine.visible(hostile) == "ok\t\\x1b]0;owned\\x07\\x9b2J\\u202e\\r\n"


def test_the_image_depends_on_everything_that_its_venv_does() -> None:
    import image

    setup = (jobs.ROOT / "scripts" / "setup").read_text()
    files = re.search(r"stamp=\$\(cat (.*?) \|", setup)[1].split()
    assert set(files) <= set(image._RECIPE)
