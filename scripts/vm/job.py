"""What a guest is to do, and what it gave back: two tars, each the content of a raw disk.

What a guest gives back is hostile input: it ran attacks. Only small regular files with plain names are read from it.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
_GUEST_SIDE = Path(__file__).resolve().parent / "guest"
_TESTER = 1000  # uid and gid of the ordinary user in every guest

_PLAIN_NAME = re.compile(r"\./([A-Za-z0-9][A-Za-z0-9._-]{0,99})")
_STATUS = re.compile(rb"[0-9]{1,3}\n")
_MAX_FILES = 100
_MAX_BYTES = 16 << 20


class Job(NamedTuple):
    """``who`` is user, login or root; ``delegation`` all or stock; ``sysctls`` and ``environment`` hold NAME=VALUE."""

    command: tuple[str, ...]
    who: str = "user"
    delegation: str = "all"
    sysctls: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    timeout_s: int = 1800

    def pack(self, disk: Path) -> None:
        """The working tree and this job, as a tar."""
        with tarfile.open(disk, "w") as tar:
            for name in ("job", "session"):
                tar.add(_GUEST_SIDE / name, f"job/{name}")
            _add_text(tar, "job/settings", self._settings())
            _add_text(tar, "job/command", shlex.join(["exec", "env", *self.environment, *self.command]) + "\n")
            for name in sources():
                tar.add(ROOT / name, f"hivebox/{name}", recursive=False, filter=_as_in_image)

    def _settings(self) -> str:
        values = {"who": self.who, "delegation": self.delegation, "timeout_s": str(self.timeout_s)}
        values["sysctls"] = " ".join(self.sysctls)
        return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(text.encode())
    tar.addfile(member, io.BytesIO(text.encode()))


def sources() -> Iterator[str]:
    """The files of the working tree as they are now: those that git tracks, and new ones that it does not ignore."""
    git = ["git", "-c", f"safe.directory={ROOT}", "-C", ROOT]  # root may run this in somebody's clone
    listed = subprocess.run(
        [*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"],
        check=True,
        stdout=subprocess.PIPE,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():  # not one that was deleted since
            yield name


def copy_sources(target: Path) -> None:
    for name in sources():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target / name)
        os.utime(target / name, (0, stable_mtime(ROOT / name)))


def stable_mtime(path: Path) -> int:
    """A time that follows from the content. Bytecode in an image is then valid for every file that is still what it was
    when the image was built, in whatever clone: an emulated machine takes half a minute to compile all of them. Between
    2000 and 2020, since hivebox looks for files from the future."""
    number = int.from_bytes(hashlib.sha256(path.read_bytes()).digest()[:4], "big")
    return 946684800 + number % (20 * 365 * 86400)


def _as_in_image(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = _TESTER
    member.uname = member.gname = ""
    member.mtime = stable_mtime(ROOT / member.name.removeprefix("hivebox/"))
    return member


class Result(NamedTuple):
    """The command's exit code, and the files it left for us."""

    status: int
    files: dict[str, bytes]

    def write(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (directory / name).write_bytes(content)


def unpack(disk: Path) -> Result | None:
    """None when the guest wrote no result, or a broken one."""
    files = {}
    try:
        with tarfile.open(disk, "r:") as tar:
            for _, member in zip(range(_MAX_FILES), tar, strict=False):
                name = _PLAIN_NAME.fullmatch(member.name)
                content = _content(tar, member)
                if name and content is not None:
                    files[name[1]] = content
    except (tarfile.TarError, ValueError, OverflowError, OSError):
        return None
    status = files.pop("status", b"")
    return Result(int(status), files) if _STATUS.fullmatch(status) and int(status) < 256 else None


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | None:
    """Of a regular file that is small: no link is followed, and no hole of a sparse one becomes gigabytes."""
    if not member.isreg() or member.issparse() or member.size > _MAX_BYTES:
        return None
    file = tar.extractfile(member)
    return file.read() if file else None
