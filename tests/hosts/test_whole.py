"""Debian as it is, an ordinary user with a systemd of their own that may limit disk I/O: nothing is missing.

scripts/vm/run --guest trixie --env HIVEBOX_TEST_EMULATED=1 -- .venv/bin/python -m pytest tests/hosts/test_whole.py
"""

from __future__ import annotations

import os

from hivebox.doctor import host
from tests.hosts.caller import Caller

# What Linux 6.1, Debian 12's, does not have.
_SINCE = {"landlock": (6, 12), "memfd": (6, 3)}


def test_the_doctor_is_all_green():
    assert os.geteuid() != 0
    findings = Caller("tester").doctor()
    other = {name for name, finding in findings.items() if finding["status"] != "ok"}
    assert other == {name for name, since in _SINCE.items() if host.kernel_version() < since}
    assert {findings[name]["status"] for name in other} <= {"degraded"}
