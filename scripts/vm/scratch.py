"""Where the disks of one guest lie while it runs: a directory that goes with the guest.

A runner that is killed cannot remove its own; the next one does. A runner holds a lock on its directory for as long as
it lives, so a directory that nobody holds is a dead one's, whatever PID namespace that lived in.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from image import cache_dir, locked

_PREFIX = "hivebox-guest-"


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """A new directory, and none left of dead runners of this user."""
    with contextlib.ExitStack() as held:
        # Between its making and its lock a directory looks like a dead one's: nobody else looks meanwhile.
        with locked(cache_dir() / "scratch.lock", fcntl.LOCK_EX):
            _remove_dead()
            path = Path(tempfile.mkdtemp(prefix=_PREFIX))
            held.enter_context(locked(path, fcntl.LOCK_EX, os.O_DIRECTORY))
            held.callback(shutil.rmtree, path)
        yield path


def _remove_dead() -> None:
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        # Another user's are not ours to open; others go by themselves.
        with (
            contextlib.suppress(BlockingIOError, PermissionError, FileNotFoundError, NotADirectoryError),
            locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB, os.O_DIRECTORY | os.O_NOFOLLOW),
        ):
            shutil.rmtree(path)
