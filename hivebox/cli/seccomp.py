"""``hivebox seccomp``: what a profile's programs may ask of the kernel; OCI export and import."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import textwrap
from collections.abc import Iterable
from typing import Any

from hivebox.cli import streams
from hivebox.cli.parser import Parser
from hivebox.errors import HiveboxError, from_os_error
from hivebox.policy import oci
from hivebox.policy.load import load_policy
from hivebox.policy.model import Policy, Syscalls
from hivebox.policy.syscall_check import DANGEROUS
from hivebox.policy.syscall_filters import filter_of
from hivebox.policy.syscall_groups import QUIET, granted

_WIDTH = 100


def run(argv: list[str]) -> int:
    """0; anything else is raised as a HiveboxError."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit:  # --help has printed
        return 0
    result: int = arguments.command(arguments)
    return result


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="hivebox seccomp", description="System calls of a profile: docs/syscalls.md")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="the calls a profile allows, and why")
    show.add_argument("profile", metavar="PROFILE", help="name or file")
    show.add_argument("--json", action="store_true", help="for programs")
    show.set_defaults(command=_show)
    export = commands.add_parser("export", help="as seccomp JSON for runc, crun, Docker and Podman")
    export.add_argument("profile", metavar="PROFILE", help="name or file")
    export.set_defaults(command=_export)
    imported = commands.add_parser("import", help="a syscalls: section from seccomp JSON; what does not fit is named")
    imported.add_argument("file", metavar="FILE", help="such as Docker's default.json; - for standard input")
    imported.set_defaults(command=_import)
    return parser


def _export(arguments: argparse.Namespace) -> int:
    policy, _sources = load_policy(arguments.profile)
    json.dump(oci.export_oci(policy), sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    try:
        text = sys.stdin.read() if arguments.file == "-" else _read(arguments.file)
        imported = oci.import_oci(json.loads(text))
    except ValueError as error:
        raise HiveboxError(
            f"cannot import {arguments.file}", f"it is not JSON: {error}", "give a seccomp profile"
        ) from error
    lines = ["syscalls:"]
    for key in ("groups", "allow", "deny"):
        names = ", ".join(f'"{name}"' if name.startswith("@") else name for name in getattr(imported.syscalls, key))
        if names:
            lines.append(textwrap.fill(f"  {key}: [{names}]", _WIDTH, subsequent_indent="    ", break_on_hyphens=False))
    sys.stdout.write("\n".join(lines) + "\n")
    for note in (*imported.notes, *_dangerous(imported.syscalls)):
        streams.remark(textwrap.fill(f"note: {note}", _WIDTH, subsequent_indent="      ") + "\n")
    return 0


def _dangerous(syscalls: Syscalls) -> Iterable[str]:
    dangerous = [name for name in granted(syscalls) if name in DANGEROUS]
    if dangerous:
        yield f"dangerous, and granted since the file does: {', '.join(dangerous)}. `hivebox profile check` says why"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise from_os_error(f"cannot import {path}", error, "check the path") from error


def _show(arguments: argparse.Namespace) -> int:
    policy, _sources = load_policy(arguments.profile)
    description = _describe(policy)
    if arguments.json:
        json.dump(description, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        sys.stdout.write(_readable(policy.name, description))
    return 0


def _describe(policy: Policy) -> dict[str, Any]:
    from hivebox.kernel.seccomp_compile import compile_program  # noqa: PLC0415  # pyseccomp: not for import and export

    program = compile_program(policy)
    grants = granted(policy.syscalls)
    allowed = {}
    for call, grant in grants.items():
        own = filter_of(call, policy, grants)
        allowed[call] = {"group": grant.group, "reason": grant.reason, "only": own.only if own else None}
    return {
        "profile": policy.name,
        "allowed": allowed,
        "quiet": {call: reason for call, (_errno, reason) in QUIET.items() if call not in grants},
        "instructions": len(program) // 8,
        "sha256": hashlib.sha256(program).hexdigest(),
    }


def _readable(name: str, description: dict[str, Any]) -> str:
    allowed: dict[str, dict[str, Any]] = description["allowed"]
    lines = [
        f"{name}: {len(allowed)} calls allowed, every other refused and reported;"
        f" {description['instructions']} instructions, sha256 {description['sha256']}"
    ]
    sections: dict[tuple[str, str], dict[str, list[str]]] = {}
    for call, facts in allowed.items():
        section = sections.setdefault((facts["group"], facts["reason"]), {})
        section.setdefault(facts["only"] or "", []).append(call)
    for (group, reason), section in sections.items():
        lines.append(f"\n{group or 'allow'}: {reason}")
        for only, calls in sorted(section.items()):
            lines.append(_indented(" ".join(calls) + (f": {only}" if only else "")))
    lines.append("\nrefused without an event, because libraries try them and have another way:")
    lines.extend(f"    {call}: {reason}" for call, reason in description["quiet"].items())
    return "\n".join(lines) + "\n"


def _indented(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="    ", subsequent_indent="    ")
