"""``hivebox audit list|show|grep|stats|tail``: what the ledger says. Signatures are for ``audit verify``."""

from __future__ import annotations

import argparse
import collections
import datetime
import itertools
import json
import pwd
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from hivebox.audit import canonical, history, supervisor
from hivebox.audit.envelope import RuleError
from hivebox.audit.statement import Record
from hivebox.cli.audit_text import (
    Commands,
    add_ledger,
    count,
    ledger,
    none_yet,
    print_json,
    public_keys,
    say,
    say_table,
)
from hivebox.errors import HiveboxError
from hivebox.report import OUTCOMES
from hivebox.units import format_duration

if TYPE_CHECKING:
    from hivebox.audit.keyring import Keyring

_INCOMPLETE, _RUNNING = "incomplete", "running"
_OUTCOMES = (*OUTCOMES, "aborted", _RUNNING, _INCOMPLETE)
_NONE_YET = "no runs recorded yet"
_LOOK_S = 0.5
_TIME = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d:\d\d(:\d\d)?)?)?)?Z?", re.ASCII)
_EARLIEST = "0001-01-01T00:00:00"  # what a beginning lacks, which is a time when this makes it one
_RELATIVE = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_HEADER = ("RUN", "STARTED", "PROFILE", "OUTCOME", "TIME", "COMMAND")


def add_commands(commands: Commands) -> None:
    """To ``hivebox audit``."""
    listing = commands.add_parser("list", help="the latest runs, newest first (signatures are not checked)")
    listing.add_argument("-n", type=count, default=20, metavar="N", help="how many, 0 for all (default: 20)")
    listing.set_defaults(command=_list)
    grep = commands.add_parser("grep", help="the runs whose records match a regular expression, newest first")
    grep.add_argument("pattern", metavar="REGEX", help="looked for in the records' JSON")
    grep.add_argument("-n", type=count, default=0, metavar="N", help="how many (default: all)")
    grep.set_defaults(command=_list)
    stats = commands.add_parser("stats", help="how many runs, by outcome and profile")
    stats.set_defaults(command=_stats)
    for command in (listing, grep, stats):
        _add_filters(command)
    show = commands.add_parser("show", help="what the ledger says of one run")
    show.add_argument("run", metavar="RUN", help="its id, or how it begins")
    show.add_argument("--all", action="store_true", help="every field of its records")
    show.set_defaults(command=_show)
    tail = commands.add_parser("tail", help="the latest records, oldest first")
    tail.add_argument("-n", type=count, default=10, metavar="N", help="how many (default: 10)")
    tail.add_argument("-f", "--follow", action="store_true", help="go on with those to come")
    tail.set_defaults(command=_tail)
    for command in (listing, grep, stats, tail):
        add_ledger(command)
    add_ledger(show, key=True)


def _add_filters(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--since", type=_when, metavar="TIME", help="as 2026-01-31, 2026-01-31T12:00 (UTC) or 2h ago: 2h"
    )
    command.add_argument("--until", type=_when, metavar="TIME", help="started before")
    command.add_argument("--profile", metavar="NAME")
    command.add_argument("--outcome", choices=_OUTCOMES, metavar="OUTCOME", help=", ".join(_OUTCOMES))
    command.add_argument("--script", metavar="SHA256", help="of the script, or how it begins")
    command.add_argument("--user", type=_uid, metavar="NAME|UID", help="who started hivebox")


def _when(text: str) -> str:
    """As a beginning of ``time.utc``, which compares as text."""
    try:
        if re.fullmatch(r"[0-9]+[smhd]", text):
            ago = time.gmtime(time.time() - int(text[:-1]) * _RELATIVE[text[-1]])
            return time.strftime("%Y-%m-%dT%H:%M:%S", ago)
        beginning = text.removesuffix("Z").replace(" ", "T")
        datetime.datetime.fromisoformat(beginning + _EARLIEST[len(beginning) :])
    except (ValueError, OverflowError, OSError) as error:
        raise argparse.ArgumentTypeError(f"no such time: {text!r}") from error
    if not _TIME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"not a time: {text!r}")
    return beginning


def _uid(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError as error:
        raise argparse.ArgumentTypeError(f"no such user: {text!r}") from error


def _chosen(arguments: argparse.Namespace) -> Iterator[history.Run]:
    """The runs that pass every filter, newest first; reading stops where nothing older can."""
    tests = _tests(arguments)
    for run in history.runs_backward(ledger(arguments)):
        utc = run.started.record.moment.utc if run.started else ""
        if arguments.since and utc and utc < arguments.since:
            return
        if all(test(run) for test in tests):
            yield run


def _tests(arguments: argparse.Namespace) -> list[Callable[[history.Run], bool]]:
    tests: list[Callable[[history.Run], bool]] = []
    if arguments.until:
        tests.append(lambda run: bool(run.started) and _utc(run) < arguments.until)
    if arguments.profile:
        tests.append(lambda run: summary(run)["profile"] == arguments.profile)
    if arguments.outcome:
        tests.append(lambda run: summary(run)["outcome"] == arguments.outcome)
    if arguments.script:
        tests.append(lambda run: _has_script(run, arguments.script))
    if arguments.user is not None:
        tests.append(lambda run: _field(_record(run.started), "supervisor", "uid") == arguments.user)
    if hasattr(arguments, "pattern"):
        try:
            pattern = re.compile(arguments.pattern.encode())
        except re.error as error:
            raise HiveboxError(
                "cannot search for this", f"{arguments.pattern!r}: {error}", "see docs.python.org, re"
            ) from error
        tests.append(
            lambda run: any(entry and pattern.search(entry.sealed.payload) for entry in (run.started, run.finished))
        )
    return tests


def _utc(run: history.Run) -> str:
    return run.started.record.moment.utc if run.started else ""


def _has_script(run: history.Run, beginning: str) -> bool:
    subjects = run.started.record.subjects if run.started else ()
    return any(name.startswith("script") and digest.startswith(beginning) for name, digest in subjects)


def _list(arguments: argparse.Namespace) -> int:
    latest = [] if none_yet(arguments) else list(itertools.islice(_chosen(arguments), arguments.n or None))
    if arguments.json:
        print_json([summary(run) for run in latest])
    elif latest:
        say_table([_HEADER, *map(_row, latest)])
    else:
        say(_NONE_YET if none_yet(arguments) else "no such runs")
    return 0


def _stats(arguments: argparse.Namespace) -> int:
    runs = [] if none_yet(arguments) else [summary(run) for run in _chosen(arguments)]
    by: dict[str, collections.Counter[str]] = {
        name: collections.Counter(str(run[name]) for run in runs) for name in ("outcome", "profile")
    }
    times = [run["wall_s"] for run in runs if isinstance(run["wall_s"], int | float)]
    if arguments.json:
        print_json({"runs": len(runs), "wall_s": sum(times), **{name: dict(counter) for name, counter in by.items()}})
        return 0
    rows = [("runs", "", str(len(runs))), ("time", "", format_duration(sum(times)))]
    for name, counter in by.items():
        rows += [(name, value, str(number)) for value, number in counter.most_common()]
    say_table(rows)
    return 0


def summary(run: history.Run) -> dict[str, Any]:
    """The fields of docs/audit-format.md#what-hivebox-writes that a list shows; None for what the record lacks."""
    started, finished = _record(run.started), _record(run.finished)
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
        "uid": _field(started, "supervisor", "uid"),
    }


def _record(entry: history.Entry | None) -> Record | None:
    return entry.record if entry else None


def _field(record: Record | None, *names: str) -> Any:
    """None where a record of another version, or another hand, has something else there."""
    value: Any = record.predicate if record else None
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _row(run: history.Run) -> tuple[str, ...]:
    said = summary(run)
    wall_s = said["wall_s"]
    duration = format_duration(wall_s) if isinstance(wall_s, int | float) else "-"
    started = (said["started"] or "-")[:19].replace("T", " ")
    words = _words(said["argv"])
    return run.run_id, started, str(said["profile"] or "-"), str(said["outcome"] or "-"), duration, words


def _words(argv: Any) -> str:
    return (
        " ".join(word if isinstance(word, str) else json.dumps(word) for word in argv)
        if isinstance(argv, list)
        else "-"
    )


def _show(arguments: argparse.Namespace) -> int:
    if none_yet(arguments):
        raise HiveboxError(f"no run {arguments.run!r}", _NONE_YET, "hivebox run SCRIPT")
    run = history.find_run(history.runs_backward(ledger(arguments)), arguments.run)
    from hivebox.audit.keyring import Keyring  # noqa: PLC0415  # cryptography, which a list does without

    ring = Keyring(public_keys(arguments))
    records = [_shown(entry, ring) for entry in (run.started, run.finished) if entry]
    if arguments.json:
        print_json({**summary(run), "records": records})
        return 0
    for shown in records:
        predicate = shown["statement"]["predicate"]
        say(f"{predicate['event']} (record {shown['seq']}, signature {shown['signature']})")
        say_table([("  subject." + item["name"], item["digest"]["sha256"]) for item in shown["statement"]["subject"]])
        fields = [(name, text) for name, text in _flat(predicate) if arguments.all or not _is_detail(name, text)]
        say_table([("  " + name, text) for name, text in fields])
    hint = "" if arguments.all else "; --all shows every field"
    say(f"run {run.run_id}: {summary(run)['outcome'] or 'no outcome'}{hint}; hivebox audit verify checks the ledger")
    return 0


def _is_detail(name: str, text: str) -> bool:
    """What is the same in most records, or says that nothing happened."""
    if name.startswith(("controls.", "enforced.")):
        return not name.endswith((".skipped", ".reason")) and text != "false"
    return (name.startswith(("ledger.", "time.b", "time.m", "host.", "supervisor.")) and name != "supervisor.uid") or (
        name.startswith("result.") and text in ("null", "0", "0.0", "")
    )


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
        "seq": entry.record.seq,
        "line_sha256": entry.sha256(),
        "keyid": entry.sealed.keyid,
        "signature": signature,
        "statement": canonical.decode(entry.sealed.payload),
    }


def _tail(arguments: argparse.Namespace) -> int:
    if none_yet(arguments) and not arguments.follow:
        say(_NONE_YET)
        return 0
    latest: list[history.Entry] = []
    if not none_yet(arguments):
        latest = list(itertools.islice(history.records_backward(ledger(arguments)), arguments.n))[::-1]
    seen = -1
    while True:
        for entry in latest:
            _say_record(entry, as_json=arguments.json)
            sys.stdout.flush()
            seen = max(seen, entry.record.seq)
        if not arguments.follow:
            return 0
        time.sleep(_LOOK_S)
        newer = history.records_backward(ledger(arguments)) if not none_yet(arguments) else iter(())
        latest = list(_newer_than(seen, newer))[::-1]


def _newer_than(seen: int, newest_first: Iterator[history.Entry]) -> Iterator[history.Entry]:
    for entry in newest_first:
        if entry.record.seq <= seen:
            return
        yield entry


def _say_record(entry: history.Entry, *, as_json: bool) -> None:
    record = entry.record
    if as_json:
        say(json.dumps(canonical.decode(entry.sealed.payload), sort_keys=True))
        return
    outcome = _field(record, "result", "outcome") or _words(_field(record, "request", "argv"))
    say(f"{record.moment.utc[:19].replace('T', ' ')}  {record.seq:>8}  {record.event:<9}  {record.run_id}  {outcome}")
