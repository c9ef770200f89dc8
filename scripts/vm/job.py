"""What a guest is to do, and what it gave back: two tars, each the content of a raw disk.

What a guest gives back is hostile input: it ran attacks. Only small regular files with plain names are read from it.
"""

from __future__ import annotations

import hashlib
import io
import re
import shlex
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
GUEST_SIDE = Path(__file__).resolve().parent / "guest"
TESTER = 1000  # uid and gid of the ordinary user in every guest

_PLAIN_NAME = re.compile(r"\./([A-Za-z0-9][A-Za-z0-9._-]{0,99})")
_STATUS = re.compile(rb"[0-9]{1,3}\n")
_YEAR_2000 = 946684800
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
                tar.add(GUEST_SIDE / name, f"job/{name}")
            self._add_text(tar, "job/settings", self._settings())
            self._add_text(tar, "job/command", shlex.join(["exec", "env", *self.environment, *self.command]) + "\n")
            for path in sources():
                tar.add(ROOT / path, f"hivebox/{path}", recursive=False, filter=_as_in_image)

    def _settings(self) -> str:
        values = {"who": self.who, "delegation": self.delegation, "timeout_s": str(self.timeout_s)}
        values["sysctls"] = " ".join(self.sysctls)
        return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())

    @staticmethod
    def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(text.encode())
        tar.addfile(member, io.BytesIO(text.encode()))


def sources() -> Iterator[str]:
    """The files of the working tree as they are now: those that git tracks, and new ones that it does not ignore."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"],
        check=True,
        capture_output=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():  # not one that was deleted since
            yield name


def stable_mtime(path: Path) -> int:
    """A time that follows from the content, so that bytecode in the image stays valid for every file that is what it was
    when the image was built, in whatever clone: compiling all of it costs an emulated machine half a minute."""
    number = int.from_bytes(hashlib.sha256(path.read_bytes()).digest()[:4], "big")
    return _YEAR_2000 + number % (20 * 365 * 86400)  # in the past: hivebox looks for clocks that were turned back


def _as_in_image(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = TESTER
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
                if not name or not member.isreg() or member.issparse() or member.size > _MAX_BYTES:
                    continue
                content = tar.extractfile(member)
                files[name[1]] = content.read() if content else b""
    except (tarfile.TarError, ValueError, OverflowError, OSError):
        return None
    status = files.pop("status", b"")
    return Result(int(status), files) if _STATUS.fullmatch(status) else None
