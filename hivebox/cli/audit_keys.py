"""``hivebox audit key``: the signing key."""

from __future__ import annotations

import argparse
import os
import re
import sys

from hivebox.audit import keys, note, rotation, segments
from hivebox.cli.audit_text import Commands, audit_dir, none_yet, say, say_table
from hivebox.errors import HiveboxError
from hivebox.locations import state_dir

_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def add_commands(commands: Commands) -> None:
    """To ``hivebox audit``."""
    key = commands.add_parser("key", help="the signing key: show (made if missing), list, rotate, revoke")
    key.add_argument(
        "action",
        nargs="?",
        default="show",
        choices=("show", "list", "rotate", "revoke"),
        metavar="show|list|rotate|revoke",
    )
    key.add_argument("keyid", nargs="?", default="", metavar="KEYID", help="which to revoke, or how it begins")
    key.add_argument("--public", action="store_true", help="only the public key, as PEM")
    key.add_argument("--vkey", action="store_true", help="only the public key, as checkpoints are verified with (C2SP)")
    key.add_argument(
        "--to", default="", metavar="SIGNER", help="rotate to ssh-agent:KEY.pub or pkcs11:MODULE,TOKEN,LABEL,PIN_FILE"
    )
    key.add_argument("--not-after", type=_date, metavar="DATE", help="the last day of the new key, as 2027-01-31")
    key.add_argument("--reason", default="", help="why it is revoked")
    key.set_defaults(command=_key, ledger=None)


def _date(text: str) -> str:
    if not _DATE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"not a date: {text!r}")
    return text + "T23:59:59.999999Z"


def _key(arguments: argparse.Namespace) -> int:
    if arguments.keyid and arguments.action != "revoke":
        raise HiveboxError(
            f"unexpected argument: {arguments.keyid}", "only revoke takes a key", "hivebox audit key --help"
        )
    if arguments.action == "rotate":
        following = rotation.rotate(state_dir(), arguments.to, arguments.not_after or "")
        say(f"keyid    {following.keyid}")
        return 0
    if arguments.action == "revoke":
        if not arguments.keyid:
            raise HiveboxError("no key was given", "", "hivebox audit key list")
        say(f"revoked  {rotation.revoke(state_dir(), arguments.keyid, arguments.reason)}")
        return 0
    return _list() if arguments.action == "list" else _show(arguments)


def _list() -> int:
    current = keys.load_signer(state_dir()).keyid
    trusted = keys.public_keys(state_dir(), revoked=False)
    rows = [("KEYID", "STATE")]
    for keyid in keys.public_keys(state_dir()):
        rows.append((keyid, "in use" if keyid == current else "replaced" if keyid in trusted else "revoked"))
    say_table(rows)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    signer = keys.load_signer(state_dir())
    if arguments.vkey:
        say(str(note.Verifier(_origin(arguments), note.ED25519, signer.public)))
        return 0
    if not arguments.public:
        directory = os.path.join(state_dir(), "keys")
        external = os.path.exists(os.path.join(directory, keys.EXTERNAL_NAME))
        say(f"keyid    {signer.keyid}")
        say(f"private  {os.path.join(directory, keys.EXTERNAL_NAME if external else keys.PRIVATE_NAME)}")
        say(f"public   {os.path.join(directory, keys.PUBLIC_NAME)}")
    sys.stdout.write(keys.public_to_pem(signer.public).decode())
    return 0


def _origin(arguments: argparse.Namespace) -> str:
    if none_yet(arguments):
        raise HiveboxError(
            "the key has no name yet", "it is the name of the ledger's first record", "hivebox run SCRIPT"
        )
    return segments.begin(next(segments.read_lines(audit_dir())).removesuffix(b"\n"))[0]
