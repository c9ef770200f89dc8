"""Somebody who calls hivebox on the machine: who they are, and what they meet."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from hivebox.doctor import host

REPOSITORY = Path(__file__).parents[2]
PYTHON_NOTHING = ("--", "python3", "-c", "")  # a program that every profile may run
Finding = dict[str, str]


class Caller(NamedTuple):
    """A user; the words that change what is around their process; and those that make it theirs, by default runuser,
    which makes no session: as after su."""

    user: str
    around: tuple[str, ...] = ()
    become: tuple[str, ...] = ()

    def command(self, *arguments: str) -> list[str]:
        become = self.become or (("runuser", "-u", self.user, "--") if self.user != host.user_name() else ())
        state = f"HIVEBOX_STATE=/var/tmp/hivebox-hosts-{self.user}"  # on a disk; the machine is thrown away
        hivebox = ("env", "-u", "HIVEBOX_CONFIG", state, sys.executable, "-m", "hivebox")
        return [*self.around, *become, *hivebox, *arguments]

    def hivebox(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), cwd=REPOSITORY, check=False, capture_output=True, text=True, timeout=300
        )

    def controls(self, *arguments: str) -> dict[str, Any]:
        """What the report of a run that works says about its controls."""
        done = self.hivebox("run", "--report", "-", *(arguments or ("--", "true")))
        assert done.returncode == 0, done.stderr
        controls: dict[str, Any] = json.loads(done.stdout)["controls"]
        return controls

    def assert_refused(self, *arguments: str, because: str) -> None:
        """Three lines, exit code 125, and nothing ran."""
        done = self.hivebox("run", *(arguments or ("--", "echo", "it ran")))
        what, why, hint = done.stderr.splitlines()
        assert done.returncode == 125, done.stderr
        assert what.startswith("hivebox: cannot ")
        assert why.startswith("why:  ")
        assert because in what + why, done.stderr
        assert hint.startswith("try:  ")
        assert not done.stdout

    def doctor(self) -> dict[str, Finding]:
        """Its findings by control; its exit code and its verdict must be those of the findings."""
        done = self.hivebox("doctor", "--json")
        findings = {finding["control"]: finding for finding in json.loads(done.stdout)}
        missing = [name for name, finding in findings.items() if finding["status"] == "missing"]
        assert (done.returncode == 0) == (not missing), done.stdout
        for finding in findings.values():
            assert finding["status"] == "ok" or (finding["why"] and finding["fix"]), finding
        return findings

    def found(self, control: str, status: str, because: str) -> Finding:
        """The doctor's finding about a control, which has this status and cause."""
        finding = self.doctor()[control]
        assert finding["status"] == status, finding
        assert because in finding["why"], finding
        return finding


def mend(finding: Finding) -> None:
    """Do what the doctor says, word for word but for its remark in parentheses."""
    command = finding["fix"].split("   (")[0].removeprefix("sudo ")
    subprocess.run(command, shell=True, cwd=REPOSITORY, check=True)  # a hint is for a shell
