"""How a ledger is kept: ``<state>/audit/settings.json``, written by ``hivebox audit keep``. On the run path."""

from __future__ import annotations

import os

from hivebox import plainjson
from hivebox.audit.custody import check_private, open_private_dir, write_new
from hivebox.errors import HiveboxError
from hivebox.frozen import Frozen
from hivebox.locations import OTHERS_WRITE

NAME = "settings.json"


class SettingsError(HiveboxError):
    """The file does not hold settings."""


class Settings(Frozen):
    """``checkpoint_every`` records, 0 never; a segment is closed when it has ``segment_bytes``; ``keep_days`` is how
    long closed segments stay when ``hivebox audit prune`` is run, 0 for ever; ``append_only`` 1 gives segments chattr
    +a where that is possible."""

    checkpoint_every: int = 1000
    segment_bytes: int = 64 << 20
    keep_days: int = 0
    append_only: int = 0


def load(dir_fd: int) -> Settings:
    """Of the open audit directory; the defaults where nothing was set. Raises HiveboxError: SettingsError for damage
    that ``save`` mends."""
    try:
        fd = os.open(NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    except FileNotFoundError:
        return Settings()
    try:
        check_private(fd, NAME, OTHERS_WRITE)
        return _settings(os.read(fd, 4096))
    except ValueError as error:
        hint = "set them anew: hivebox audit keep --checkpoint-every 1000 (the others are then the defaults)"
        raise SettingsError("cannot read the ledger's settings", f"audit/{NAME}: {error}", hint) from error
    finally:
        os.close(fd)


def _settings(content: bytes) -> Settings:
    said = plainjson.loads(content)
    if not isinstance(said, dict):
        raise ValueError("expected a JSON object")
    if unknown := sorted(said.keys() - set(Settings._fields)):
        raise ValueError(f"there is no {unknown[0]!r}")
    if any(type(value) is not int or value < 0 for value in said.values()):
        raise ValueError("expected whole numbers")
    return Settings(**said)


def save(state_dir: str, settings: Settings) -> None:
    """Durable when it returns."""
    dir_fd = open_private_dir(state_dir, "audit")
    try:
        temporary = f".settings-{os.urandom(8).hex()}"
        write_new(dir_fd, temporary, plainjson.dumps(settings._asdict()).encode() + b"\n", 0o600)
        os.rename(temporary, NAME, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        os.fsync(dir_fd)
    finally:
        os.close(dir_fd)
