"""``hivebox audit``: list, show and verify signed records; the key."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hivebox.audit import canonical, history, journal, keys, statement, supervisor, verify
from hivebox.audit.envelope import RuleError
from hivebox.audit.keyring import Keyring
from hivebox.audit.rules import Finding
from hivebox.cli.parser import Parser
from hivebox.errors import HiveboxError, from_os_error
from hivebox.locations import state_dir
from hivebox.units import format_duration

_MOST_FINDINGS = 20
_LARGEST_KEY_FILE = 4096
_LONGEST_CELL = 80
_INCOMPLETE, _RUNNING = "incomplete", "running"


def run(argv: list[str]) -> int:
    """0, or 1 when ``verify`` has an error to report."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name need not fit the terminal's encoding
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit:  # --help has printed
        return 0
    result: int = arguments.command(arguments)
    sys.stdout.flush()  # here a reader that went away is still an error that main() knows
    return result


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="hivebox audit", description="Signed records of every run: docs/audit-format.md")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="the latest runs, newest first (signatures are not checked)")
    listing.add_argument("-n", type=_count, default=20, metavar="N", help="how many (default: 20)")
    listing.set_defaults(command=_list)
    show = commands.add_parser("show", help="all that the ledger says of one run")
    show.add_argument("run", metavar="RUN", help="its id, or how it begins")
    show.set_defaults(command=_show)
    check = commands.add_parser("verify", help="is the ledger what was written? Exit code 1 if not")
    check.add_argument("--head", type=_head, metavar="SEQ:SHA256", help="a head noted earlier: finds a cut-off end")
    check.set_defaults(command=_verify)
    for command in (listing, show, check):
        command.add_argument("--ledger", metavar="FILE", help="default: this user's")
        command.add_argument("--json", action="store_true", help="for programs")
    for command in (show, check):
        command.add_argument("--key", action="append", metavar="PUB.pem", help="default: this user's (repeatable)")
    key = commands.add_parser("key", help="the signing key: its id, its file, its public half; made if missing")
    key.add_argument("--public", action="store_true", help="only the public key, as PEM")
    key.set_defaults(command=_key)
    return parser


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"not a count: {text!r}")
    return int(text)


def _head(text: str) -> verify.Head:
    seq, _, digest = text.partition(":")
    if not (seq.isascii() and seq.isdigit()) or not statement.is_sha256(digest):
        raise argparse.ArgumentTypeError("expected SEQ:SHA256 as hivebox audit verify prints it")
    return verify.Head(int(seq), digest)


def _list(arguments: argparse.Namespace) -> int:
    path = _ledger_path(arguments)
    none_yet = not arguments.ledger and _is_missing(path)
    latest = [] if none_yet else history.runs(history.read_lines(path))[::-1][: arguments.n]
    if arguments.json:
        _print_json([_summary(run) for run in latest])
    elif not latest:
        _say("no runs recorded yet")
    else:
        _say_table([("RUN", "STARTED", "PROFILE", "OUTCOME", "TIME", "COMMAND"), *map(_row, latest)])
    return 0


def _summary(run: history.Run) -> dict[str, Any]:
    """The fields of docs/audit-format.md#what-hivebox-writes that a list shows; None for what the record lacks."""
    started = run.started.record if run.started else None
    finished = run.finished.record if run.finished else None
    outcome = _field(finished, "result", "outcome")
    if finished is None and started is not None:
        outcome = _RUNNING if supervisor.is_running(started) else _INCOMPLETE
    return {
        "run_id": run.run_id,
        "started": started.moment.utc if started else None,
        "profile": _field(started, "request", "profile"),
        "outcome": outcome,
        "exit_code": _field(finished, "result", "exit_code"),
        "wall_s": _field(finished, "result", "wall_s"),
        "argv": _field(started, "request", "argv"),
    }


def _field(record: statement.Record | None, *names: str) -> Any:
    """None where a record of another version, or another hand, has something else there."""
    value: Any = record.predicate if record else None
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _row(run: history.Run) -> tuple[str, ...]:
    summary = _summary(run)
    wall_s, argv = summary["wall_s"], summary["argv"]
    time = format_duration(wall_s) if isinstance(wall_s, int | float) else "-"
    words = [word if isinstance(word, str) else json.dumps(word) for word in argv] if isinstance(argv, list) else ["-"]
    started = (summary["started"] or "-")[:19].replace("T", " ")
    return run.run_id, started, str(summary["profile"] or "-"), str(summary["outcome"] or "-"), time, " ".join(words)


def _show(arguments: argparse.Namespace) -> int:
    run = history.find_run(history.runs(history.read_lines(_ledger_path(arguments))), arguments.run)
    ring = Keyring(_public_keys(arguments))
    records = [_shown(entry, ring) for entry in (run.started, run.finished) if entry]
    if arguments.json:
        _print_json({**_summary(run), "records": records})
        return 0
    for shown in records:
        predicate = shown["statement"]["predicate"]
        _say(f"{predicate['event']} (line {shown['line']}, signature {shown['signature']})")
        _say_table([("  subject." + item["name"], item["digest"]["sha256"]) for item in shown["statement"]["subject"]])
        _say_table([("  " + name, text) for name, text in _flat(predicate)])
    _say(f"run {run.run_id}: {_summary(run)['outcome'] or 'no outcome'}; the chain is checked by hivebox audit verify")
    return 0


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested JSON as (dotted name, text) pairs; a list of plain values is one text."""
    if isinstance(value, dict) and value:
        for key in value:
            yield from _flat(value[key], f"{name}.{key}" if name else key)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for index, item in enumerate(value):
            yield from _flat(item, f"{name}.{index}")
    else:
        items = value if isinstance(value, list) else [value]
        yield name, " ".join(item if isinstance(item, str) else json.dumps(item) for item in items)


def _shown(entry: history.Entry, ring: Keyring) -> dict[str, Any]:
    try:
        ring.check(entry.sealed)
        signature = "good"
    except RuleError as error:
        signature = f"bad ({error})"
    return {
        "line": entry.line,
        "line_sha256": entry.sha256(),
        "keyid": entry.sealed.keyid,
        "signature": signature,
        "statement": canonical.decode(entry.sealed.payload),
    }


def _verify(arguments: argparse.Namespace) -> int:
    path = _ledger_path(arguments)
    public_keys = _public_keys(arguments)
    verdict = verify.verify(history.read_lines(path), public_keys, arguments.head)
    running = {run.line for run in verdict.open_runs if supervisor.is_running(run.record)}
    findings = [found for found in verdict.findings if found.rule != _INCOMPLETE or found.line not in running]
    head = f"{verdict.head.seq}:{verdict.head.line_sha256}" if verdict.head else None
    summary: dict[str, Any] = {
        "ledger": path,
        "keys": sorted(public_keys),
        "records": verdict.records,
        "runs": verdict.runs,
        "running": len(running),
        "incomplete": len(verdict.open_runs) - len(running),
        "head": head,
        "good": verdict.good,
    }
    if arguments.json:
        _print_json({**summary, "findings": [found._asdict() for found in findings]})
    else:
        _print_verdict(summary, findings)
    return 0 if verdict.good else 1


def _print_verdict(summary: dict[str, Any], findings: Sequence[Finding]) -> None:
    for found in findings[:_MOST_FINDINGS]:
        where = f"line {found.line}" if found.line else "ledger"
        text = f"{found.rule}: expected {_brief(found.expected)}, got {_brief(found.got)}"
        _say(f"{where:<10} {found.severity:<8} {text}")
    if len(findings) > _MOST_FINDINGS:
        _say(f"and {len(findings) - _MOST_FINDINGS} more: hivebox audit verify --json")
    for name in ("ledger", "records", "runs", "running", "incomplete", "head"):
        _say(f"{name:<10} {summary[name]}")
    for keyid in summary["keys"]:
        _say(f"key        {keyid}")
    _say("result     " + ("good" if summary["good"] else "BAD: not what was written (docs/audit-format.md#rules)"))


def _key(arguments: argparse.Namespace) -> int:
    signer = keys.load_signer(state_dir())
    pem = keys.public_to_pem(signer.public).decode()
    if not arguments.public:
        _say(f"keyid    {signer.keyid}")
        _say(f"private  {os.path.join(state_dir(), 'keys', keys.PRIVATE_NAME)}")
        _say(f"public   {os.path.join(state_dir(), 'keys', keys.PUBLIC_NAME)}")
    sys.stdout.write(pem)
    return 0


def _is_missing(path: str) -> bool:
    try:
        os.stat(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False  # reading it says why
    return False


def _ledger_path(arguments: argparse.Namespace) -> str:
    return arguments.ledger or os.path.join(state_dir(), "audit", journal.NAME)


def _public_keys(arguments: argparse.Namespace) -> dict[str, bytes]:
    paths = arguments.key or [os.path.join(state_dir(), "keys", keys.PUBLIC_NAME)]
    return {keys.keyid_of(public): public for public in map(_read_public, paths)}


def _read_public(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return keys.public_from_pem(file.read(_LARGEST_KEY_FILE))
    except OSError as error:
        raise from_os_error("cannot read the public key", error, "give one with --key PUB.pem") from error
    except ValueError as error:
        hint = "export it with hivebox audit key --public"
        raise HiveboxError("cannot read the public key", f"{path}: {error}", hint) from error


def _say_table(rows: Iterable[Sequence[str]]) -> None:
    """Left-aligned columns, each cell one line of bounded length."""
    cells = [[_clip(_printable(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        _say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _clip(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 3] + "..."


def _brief(text: str) -> str:
    """Digests by their first 16 digits: enough for an eye, and --json has all of them."""
    return " ".join(word[:16] + ".." if statement.is_sha256(word) else word for word in text.split(" "))


def _say(text: str) -> None:
    """A line; what came from a record cannot drive the reader's terminal."""
    sys.stdout.write(_printable(text) + "\n")


def _printable(text: str) -> str:
    """Stops escape sequences, and line ends that would fake further lines."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _print_json(plain: Any) -> None:
    sys.stdout.write(json.dumps(plain, indent=2, sort_keys=True) + "\n")
