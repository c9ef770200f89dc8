"""What a guest boots from: a disk and a kernel, built from Debian's packages once and kept by a digest of the recipe.

An image appears in the cache by one rename, when it is whole and on the disk, so there is no such thing as a half-built
one. One builder per guest at a time; the others wait and use what it made. Images of older recipes go.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from job import ROOT, copy_sources

from hivebox.errors import HiveboxError

GUESTS = {"bookworm": "3.11", "trixie": "3.13"}  # with the version of their Python
_HERE = Path(__file__).resolve().parent
_RECIPE = (
    *("scripts/vm/build-image", "scripts/vm/customize"),
    *("scripts/vm/guest/unpack", "scripts/vm/guest/hivebox-vm.service"),
    *("scripts/provision", "scripts/setup", "scripts/launcher.py", "bin/hivebox"),
    *("setup.cfg", "pyproject.toml", "hivebox/__init__.py"),
)
# pip does not know that a newer one of these includes the older ones.
_PLATFORMS = ("manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in (36, 34, 28, 27, 17, 12, 5)))
_KEPT = 2  # of each guest: this one, and the last of another recipe, so that two checkouts do not build in turns


class Image(NamedTuple):
    guest: str
    disk: Path
    kernel: Path


@contextlib.contextmanager
def ready(guest: str, *, rebuild: bool = False) -> Iterator[Image]:
    """The guest's image, built if need be, and kept while it is in use."""
    directory = cache_dir() / f"{guest}-{_digest(guest)}"
    with contextlib.ExitStack() as held:
        with locked(cache_dir() / f"{guest}.lock", fcntl.LOCK_EX):
            if rebuild or not directory.exists():
                _build(guest, directory)
            os.utime(directory)
            held.enter_context(locked(directory, fcntl.LOCK_SH, os.O_DIRECTORY))
            _remove_old(guest)
        yield Image(guest, directory / "root.ext4", directory / "vmlinuz")


def cache_dir() -> Path:
    path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "hivebox", "vm")
    path.mkdir(parents=True, exist_ok=True)
    return path


def _digest(guest: str) -> str:
    parts = [guest, os.environ.get("HIVEBOX_DEBIAN_MIRROR", "")]
    parts += [hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in _RECIPE]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@contextlib.contextmanager
def locked(path: Path, how: int, flags: int = os.O_CREAT) -> Iterator[None]:
    """Holds a lock (flock(2)) on a file, made if need be; on a directory with O_DIRECTORY as ``flags``."""
    handle = os.open(path, os.O_RDONLY | flags, 0o600)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)


def _build(guest: str, directory: Path) -> None:
    """Called with the guest's lock held, so every directory that begins with a dot is one that a dead builder left."""
    print(f"vm: building the {guest} image", file=sys.stderr)
    for stale in directory.parent.glob(f".{guest}-*"):
        _remove(stale)
    work = Path(tempfile.mkdtemp(prefix=f".{guest}-", dir=directory.parent))
    try:
        copy_sources(work / "tree")
        _download_wheels(GUESTS[guest], work)
        _run("build", [*_isolated(), _HERE / "build-image", guest, work])
        for made in work.iterdir():
            with made.open("rb") as file:
                os.fsync(file.fileno())
        _remove(directory)
        work.rename(directory)
    finally:
        _remove(work)


def _download_wheels(python: str, work: Path) -> None:
    """On the host, whose pip knows how to reach an index; for the guest's interpreter."""
    platforms = [word for platform in _PLATFORMS for word in ("--platform", platform)]
    pip = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--only-binary=:all:"]
    wanted = ["setuptools>=64", f"{work}/tree[test]"]
    _run("download the packages", [*pip, "--python-version", python, *platforms, "--dest", work / "wheels", *wanted])


def _isolated() -> list[str]:
    """In a mount and a PID namespace, so that mounts and processes of a builder end with it, however that ends. As an
    ordinary user also in a user namespace, with the user's subordinate uids for those of the image."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user", "--map-auto"]
    return ["setpriv", "--pdeathsig", "KILL", "unshare", *user, "--mount", "--pid", "--fork", "--kill-child"]


def _remove(directory: Path) -> None:
    """As the builder, since the files may belong to subordinate uids."""
    subprocess.run([*_isolated(), "rm", "-rf", "--one-file-system", directory], check=True)


def _remove_old(guest: str) -> None:
    """Called with the guest's lock held. Those used longest ago go, unless they are in use, which a file lock tells."""
    newest_first = sorted(cache_dir().glob(f"{guest}-*"), key=lambda image: -image.stat().st_mtime)
    for directory in newest_first[_KEPT:]:
        with contextlib.suppress(BlockingIOError), locked(directory, fcntl.LOCK_EX | fcntl.LOCK_NB, os.O_DIRECTORY):
            _remove(directory)


def _run(purpose: str, command: list[str | Path]) -> None:
    ended = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    if ended.returncode:
        raise HiveboxError(
            f"cannot {purpose} for a guest",
            f"exit code {ended.returncode}, see above: {' '.join(map(str, command))}",
            "docs/development.md#virtual-machines says what it needs",
        )
