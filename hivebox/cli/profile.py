"""``hivebox profile``: list, show, check, explain and import profiles; their JSON Schema."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from typing import Any

from hivebox.cli import streams
from hivebox.cli.parser import Parser
from hivebox.errors import HiveboxError, ProfileError, from_os_error, printable
from hivebox.policy import sources
from hivebox.policy.check import check
from hivebox.policy.explain import explain
from hivebox.policy.importer import MAPPED, import_policy
from hivebox.policy.load import is_path, policy_sha256
from hivebox.policy.model import policy_to_plain
from hivebox.policy.profile import Compiled, available, compile_profile
from hivebox.policy.schema import json_schema
from hivebox.policy.show import to_yaml
from hivebox.units import counted


def run(argv: list[str]) -> int:
    """0, or 1 when ``check`` found an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path need not fit the terminal's encoding
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit:  # --help has printed
        return 0
    result: int = arguments.command(arguments)
    sys.stdout.flush()
    return result


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="hivebox profile", description="What a script may do: docs/profile.md")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="the profiles that can be named, and their files")
    listing.set_defaults(command=_list)
    show = commands.add_parser("show", help="one profile, with all that it extends, as YAML")
    show.set_defaults(command=_show)
    checking = commands.add_parser("check", help="mistakes, contradictions, dangerous grants; exit code 1 for errors")
    checking.add_argument("profile", nargs="+", metavar="NAME|FILE")
    checking.set_defaults(command=_check)
    explaining = commands.add_parser("explain", help="what it grants and denies, by which mechanism, from which line")
    explaining.set_defaults(command=_explain)
    for command in (show, explaining):
        command.add_argument("profile", metavar="NAME|FILE")
    for command in (listing, show, checking, explaining):
        command.add_argument("--json", action="store_true", help="for programs")
    importing = commands.add_parser("import", help="a profile from the predecessor's policy file")
    importing.add_argument("file", metavar="FILE")
    importing.set_defaults(command=_import)
    commands.add_parser("schema", help="JSON Schema of profiles, for editors").set_defaults(command=_schema)
    return parser


def _write(*lines: str) -> None:
    sys.stdout.write("".join(line + "\n" for line in lines))


def _print_json(plain: Any) -> None:
    _write(json.dumps(plain, indent=2, sort_keys=True))


def _printable(text: str) -> str:
    """A profile may come from a stranger, and must not drive the reader's terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)


def _compiled(name_or_path: str) -> Compiled:
    return compile_profile(os.path.abspath(name_or_path) if is_path(name_or_path) else name_or_path)


def _plain_error(error: HiveboxError) -> dict[str, str]:
    return {"what": error.what, "why": error.why, "hint": error.hint}


# --- list and show ---------------------------------------------------------------------------------------------------


def _list(arguments: argparse.Namespace) -> int:
    rows: list[dict[str, Any]] = []
    for name, path in available().items():
        try:
            rows.append({"name": name, "file": path, "description": compile_profile(name).policy.description})
        except ProfileError as error:
            rows.append({"name": name, "file": path, "error": _plain_error(error)})
    if arguments.json:
        _print_json(rows)
        return 0
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        text = f"cannot be used: {row['error']['what']}" if "error" in row else row["description"]
        _write(f"{printable(row['name']):<{width}}  {printable(text)}", f"{'':<{width}}  {printable(row['file'])}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    compiled = _compiled(arguments.profile)
    digest = policy_sha256(compiled.policy)
    if arguments.json:
        _print_json({"policy": policy_to_plain(compiled.policy), "sha256": digest, "origins": compiled.origins})
    else:
        _write(f"# {compiled.policy.name}, with all that it extends. sha256 {digest}")
        sys.stdout.write(_printable(to_yaml(compiled.policy, compiled.origins)))
    return 0


# --- check -----------------------------------------------------------------------------------------------------------


def _check(arguments: argparse.Namespace) -> int:
    results = [_result(profile) for profile in arguments.profile]
    if arguments.json:
        _print_json(results)
    else:
        for result in results:
            _present(result)
    return 0 if all(result["ok"] for result in results) else 1


def _result(profile: str) -> dict[str, Any]:
    """``ok`` means usable: no error, whatever the warnings say."""
    try:
        policy = _compiled(profile).policy
    except ProfileError as error:
        return {"profile": profile, "ok": False, "error": _plain_error(error), "findings": []}
    findings = [finding._asdict() for finding in check(policy)]
    usable = not any(finding["severity"] == "error" for finding in findings)
    return {"profile": profile, "ok": usable, "findings": findings}


def _present(result: dict[str, Any]) -> None:
    if "error" in result:
        error = HiveboxError(**result["error"])
        _write(f"{result['profile']}: cannot be used", *(f"  {line}" for line in str(error).splitlines()))
        return
    counts = [finding["severity"] for finding in result["findings"]]
    summary = ", ".join(counted(counts.count(kind), kind) for kind in ("error", "warning", "note") if kind in counts)
    _write(f"{result['profile']}: {'ok' if result['ok'] else 'cannot be used'}{f' ({summary})' if summary else ''}")
    for finding in result["findings"]:
        _write(f"  {finding['severity']}: {finding['what']}")
        for label in ("why", "hint"):
            if finding[label]:
                _write(f"    {'why: ' if label == 'why' else 'try: '} {finding[label]}")


# --- explain ---------------------------------------------------------------------------------------------------------


def _explain(arguments: argparse.Namespace) -> int:
    compiled = _compiled(arguments.profile)
    facts = explain(compiled.policy, compiled.origins)
    if arguments.json:
        _print_json({"profile": compiled.policy.name, "facts": [fact._asdict() for fact in facts]})
        return 0
    _write(_printable(f"{compiled.policy.name}: {compiled.policy.description}".rstrip(": ")))
    section = ""
    for fact in facts:
        if fact.section != section:
            section = fact.section
            _write("", section)
        _write(f"  {fact.verdict} {_printable(fact.text)}", f"      by {fact.mechanism} ({fact.origin})")
    return 0


# --- import and schema -----------------------------------------------------------------------------------------------


def _import(arguments: argparse.Namespace) -> int:
    """The profile on stdout, so that it can be redirected; the account of every key on stderr."""
    try:
        content = sources.read(os.path.abspath(arguments.file))
    except OSError as error:
        raise from_os_error(f"cannot read {arguments.file}", error) from error
    if content is None:
        raise HiveboxError(f"no such file: {arguments.file}", "", "give the predecessor's policy file")
    imported = import_policy(arguments.file, content)
    sys.stdout.write(imported.profile)
    sys.stdout.flush()
    width = max((len(row.key) for row in imported.rows), default=0)
    for row in imported.rows:
        became = f"{row.verdict} to {row.target}" if row.verdict == MAPPED else row.verdict
        streams.remark(f"{row.key:<{width}}  {row.value}\n{'':<{width}}    {became}: {row.reason}\n")
    left = sum(row.verdict != MAPPED for row in imported.rows)
    streams.remark(f"{len(imported.rows)} keys and items: {len(imported.rows) - left} mapped, {left} not\n")
    return 0


def _schema(_arguments: argparse.Namespace) -> int:
    sys.stdout.write(json_schema())
    return 0
