"""``hivebox audit export``: records to a collector."""

from __future__ import annotations

import argparse

from hivebox.audit.export import cursor, forms, send, targets
from hivebox.cli import streams
from hivebox.cli.audit_text import Commands, audit_dir, none_yet, say
from hivebox.errors import HiveboxError, from_os_error, printable
from hivebox.locations import state_dir
from hivebox.units import counted

_LOOK_S = 1.0


def add_commands(commands: Commands) -> None:
    """To ``hivebox audit``."""
    export = commands.add_parser(
        "export", help="send records to a collector: each at least once, from where it stopped"
    )
    export.add_argument(
        "--to",
        required=True,
        metavar="TARGET",
        help="-, file:PATH, unix:PATH, udp://H:P, tcp://H:P, tls://H:P, http(s)://H/v1/logs",
    )
    export.add_argument("--form", choices=(*forms.LINES, "otlp"), help="default: otlp for http, rfc5424 else")
    export.add_argument(
        "--name", default="", help="of the cursor, which knows what was sent (default: one for each target)"
    )
    export.add_argument("-f", "--follow", action="store_true", help="go on with records to come")
    export.add_argument(
        "--ca", default="", metavar="PEM", help="who signs the collector's certificate (default: the system's)"
    )
    export.add_argument("--cert", default="", metavar="PEM", help="this client's certificate")
    export.add_argument("--cert-key", default="", metavar="PEM", help="and its key")
    export.set_defaults(command=_export, ledger=None)


def _export(arguments: argparse.Namespace) -> int:
    deliver, is_otlp = targets.target_of(arguments.to, targets.Tls(arguments.ca, arguments.cert, arguments.cert_key))
    form = arguments.form or ("otlp" if is_otlp else "rfc5424")
    if is_otlp != (form == "otlp"):
        raise HiveboxError(
            f"{form} cannot go to {arguments.to}", "http(s) takes otlp, everything else lines", "leave --form out"
        )
    if none_yet(arguments) and not arguments.follow:
        say("no runs recorded yet")
        return 0
    try:
        count = _send(arguments, deliver, form)
    except cursor.NotKeptError as error:
        raise from_os_error("cannot keep how far the export got", error, "make it writable for you") from error
    if arguments.to != "-":
        say(f"{counted(count, 'record')} sent")
    return 0


def _send(arguments: argparse.Namespace, deliver: targets.Deliver, form: str) -> int:
    with cursor.locked(state_dir(), arguments.name or cursor.name_for(arguments.to)) as at:

        def once() -> int:
            return 0 if none_yet(arguments) else send.send(audit_dir(), at, deliver, form)

        if arguments.follow:
            send.follow(once, _remark, _LOOK_S)
        try:
            return once()
        except cursor.NotKeptError:
            raise
        except OSError as error:
            why = f"{arguments.to}: {error}; record {at.seq + 1} is the next to go"
            raise HiveboxError(
                "the collector did not take the records", why, "run it again, or with --follow"
            ) from error


def _remark(text: str) -> None:
    streams.remark(f"hivebox: {printable(text)}\n")
