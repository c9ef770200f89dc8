"""``hivebox audit keep|rotate|compress|prune``: how the ledger is kept."""

from __future__ import annotations

import argparse
import os
import time

from hivebox.audit import ledger, segments, settings, upkeep
from hivebox.audit.custody import open_private_dir
from hivebox.cli.audit_text import Commands, audit_dir, count, say, say_table
from hivebox.errors import HiveboxError
from hivebox.locations import state_dir
from hivebox.units import format_size, parse_size

_SMALLEST_SEGMENT = 64 << 10


def add_commands(commands: Commands) -> None:
    """To ``hivebox audit``."""
    keep = commands.add_parser("keep", help="show or set how the ledger is kept")
    keep.add_argument("--checkpoint-every", type=count, metavar="N", help="records, 0 never (default: 1000)")
    keep.add_argument("--segment-size", type=_size, metavar="SIZE", help="when a segment is closed (default: 64M)")
    keep.add_argument("--keep-days", type=count, metavar="N", help="what prune leaves, 0 everything (default: 0)")
    keep.add_argument(
        "--append-only", choices=("on", "off"), help="chattr +a for segments, where possible (default: off)"
    )
    keep.set_defaults(command=_keep)
    rotate = commands.add_parser("rotate", help="close the open segment now")
    rotate.set_defaults(command=_rotate)
    compress = commands.add_parser("compress", help="gzip closed segments")
    compress.set_defaults(command=_compress)
    prune = commands.add_parser("prune", help="remove closed segments older than keep-days, with a signed statement")
    prune.set_defaults(command=_prune)


def _size(text: str) -> int:
    size = parse_size(text)
    if size < _SMALLEST_SEGMENT:
        raise argparse.ArgumentTypeError(f"at least {format_size(_SMALLEST_SEGMENT)}")
    return size


def _keep(arguments: argparse.Namespace) -> int:
    given = {
        "checkpoint_every": arguments.checkpoint_every,
        "segment_bytes": arguments.segment_size,
        "keep_days": arguments.keep_days,
        "append_only": None if arguments.append_only is None else int(arguments.append_only == "on"),
    }
    changes = {name: value for name, value in given.items() if value is not None}
    try:
        current = _settings()
    except settings.SettingsError:
        if not changes:
            raise
        current = settings.Settings()
        say("what the settings were cannot be read: those not given are now the defaults")
    if changes:
        current = current._replace(**changes)
        settings.save(state_dir(), current)
        if "append_only" in changes:
            why_not = ledger.Ledger(state_dir()).protect(on=bool(current.append_only))
            say(f"chattr {'+a' if current.append_only else '-a'}: {why_not or 'done'}")
    say_table(
        [
            ("checkpoint-every", str(current.checkpoint_every)),
            ("segment-size", format_size(current.segment_bytes)),
            ("keep-days", str(current.keep_days)),
            ("append-only", "on" if current.append_only else "off"),
        ]
    )
    return 0


def _settings() -> settings.Settings:
    dir_fd = open_private_dir(state_dir(), "audit")
    try:
        return settings.load(dir_fd)
    finally:
        os.close(dir_fd)


def _rotate(_arguments: argparse.Namespace) -> int:
    _must_exist()
    before = len(segments.closed(audit_dir()))
    ledger.Ledger(state_dir()).rotate()
    if len(segments.closed(audit_dir())) > before:
        say("closed; the next record begins a new segment")
    else:
        say("nothing to close: there is no record since the last one was closed")
    return 0


def _compress(_arguments: argparse.Namespace) -> int:
    _must_exist()
    for path in upkeep.compress(state_dir()):
        say(path)
    return 0


def _prune(_arguments: argparse.Namespace) -> int:
    _must_exist()
    keep_days = _settings().keep_days
    if not keep_days:
        raise HiveboxError(
            "nothing may be pruned", "keep-days is 0: records are kept for ever", "hivebox audit keep --keep-days N"
        )
    removed = upkeep.prune(state_dir(), keep_days, time.time())
    for said in removed:
        say(f"removed records {said['first_seq']} to {said['last_seq']}, the last of {said['last_utc']}")
    if not removed:
        say(f"nothing is older than {keep_days} days")
    return 0


def _must_exist() -> None:
    if not os.path.isdir(audit_dir()):
        raise HiveboxError("there is no ledger", "no runs recorded yet", "hivebox run SCRIPT")
