"""What a guest boots from: a disk and a kernel, built from Debian's packages once and kept by a digest of its recipe.

An image appears in the cache by one rename, so there is no such thing as a half-built one. One builder at a time; the
others wait and use what it made.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from job import ROOT, sources, stable_mtime

from hivebox.errors import HiveboxError

GUESTS = {"bookworm": "3.11", "trixie": "3.13"}  # with their Python's version
_HERE = Path(__file__).resolve().parent
_RECIPE = (
    *("scripts/vm/build-image", "scripts/vm/customize", "scripts/vm/guest/unpack", "scripts/vm/guest/hivebox-vm.service"),
    *("scripts/provision", "scripts/setup", "setup.cfg", "pyproject.toml", "hivebox/__init__.py"),
)
# pip expands none of these to the older ones that it includes.
_PLATFORMS = tuple(f"manylinux_2_{minor}_x86_64" for minor in (36, 34, 28, 27, 17, 12, 5)) + ("manylinux2014_x86_64",)


class Image(NamedTuple):
    guest: str
    disk: Path
    kernel: Path


@contextlib.contextmanager
def ready(guest: str, *, rebuild: bool = False) -> Iterator[Image]:
    """The guest's image, built if need be."""
    cache = cache_dir()
    directory = cache / f"{guest}-{_digest(guest)}"
    if rebuild or not directory.exists():
        with _locked(cache / f"{guest}.lock"):
            if rebuild or not directory.exists():  # another run may have built it meanwhile
                _build(guest, directory)
    yield Image(guest, directory / "root.ext4", directory / "vmlinuz")


def cache_dir() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    (base / "hivebox" / "vm").mkdir(parents=True, exist_ok=True)
    return base / "hivebox" / "vm"


def _digest(guest: str) -> str:
    parts = [guest, os.environ.get("HIVEBOX_DEBIAN_MIRROR", "")]
    parts += [hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in _RECIPE]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(guest: str, directory: Path) -> None:
    """Called with the guest's lock held, so that every unfinished directory is one that its builder left."""
    print(f"vm: building the {guest} image (a minute)", file=sys.stderr)
    for stale in directory.parent.glob(f".{guest}-*"):
        shutil.rmtree(stale)
    work = Path(tempfile.mkdtemp(prefix=f".{guest}-", dir=directory.parent))
    try:
        _copy_tree(work / "tree")
        _download_wheels(GUESTS[guest], work / "wheels")
        _run("build the image", _isolated(), _HERE / "build-image", guest, work)
        shutil.rmtree(directory, ignore_errors=True)
        work.rename(directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _isolated() -> list[str]:
    """The builder's mounts and processes end with it, however it ends: /dev below a directory that is being removed would
    be the host's."""
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child"]


def _copy_tree(target: Path) -> None:
    for name in sources():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target / name)
        os.utime(target / name, (0, stable_mtime(ROOT / name)))


def _download_wheels(python: str, target: Path) -> None:
    platforms = [word for platform in _PLATFORMS for word in ("--platform", platform)]
    _run(
        "download the Python packages",
        [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"],
        *("--only-binary=:all:", "--python-version", python, *platforms, "--dest", target, "setuptools>=64", f"{ROOT}[test]"),
    )


def _run(purpose: str, prefix: list[str], *words: str | Path) -> None:
    ended = subprocess.run([*prefix, *words], check=False, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    if ended.returncode:
        raise HiveboxError(
            f"cannot {purpose} of a guest", f"{words[0]} ended with {ended.returncode}: see above", "is there a network?"
        )
