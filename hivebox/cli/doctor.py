"""``hivebox doctor``."""

from __future__ import annotations

import json
import os
import sys

from hivebox.cli.options import Option, parse
from hivebox.doctor.examine import examine
from hivebox.doctor.finding import MISSING, OK, Finding
from hivebox.errors import HiveboxError, printable

_OPTIONS = (Option("--json", "", "a list of {control, status, mechanism, why, fix}"),)
_USAGE = "hivebox doctor [--json]"


def run(argv: list[str]) -> int:
    """0 when ``hivebox run`` with the default profile works on this host, else 1."""
    parsed = parse(_USAGE, _OPTIONS, argv)
    if parsed is None:
        return 0
    options, words, _ = parsed
    if words:
        raise HiveboxError(f"unexpected argument: {words[0]}", "doctor takes none", _USAGE)
    if "--json" in options:
        findings = list(examine())
        sys.stdout.write(json.dumps([finding._asdict() for finding in findings], indent=2) + "\n")
    else:
        findings = _show()
    return int(any(finding.status == MISSING for finding in findings))


def _show() -> list[Finding]:
    """A line as soon as it is known, since a probe that hangs for its time limit is a finding too."""
    host = os.uname()
    sys.stdout.write(f"{host.sysname} {host.release} {host.machine}, uid {os.geteuid()}\n\n")
    findings = []
    for finding in examine():
        findings.append(finding)
        sys.stdout.write(f"{finding.status:<8}  {finding.control:<18}  {finding.mechanism}\n")
        if finding.status != OK:
            why = f"\n{'':36}".join(printable(line) for line in finding.why.split("\n"))
            sys.stdout.write(f"{'':30}why:  {why}\n{'':30}fix:  {finding.fix}\n")
        sys.stdout.flush()
    sys.stdout.write("\n" + _summary(findings) + "\n")
    return findings


def _summary(findings: list[Finding]) -> str:
    absent = [finding.control for finding in findings if finding.status == MISSING]
    if absent:
        return f"hivebox run does not work here: {', '.join(absent)}"
    lesser = [finding.control for finding in findings if finding.status != OK]
    return "hivebox run works here" + (f", with less: {', '.join(lesser)}" if lesser else "")
