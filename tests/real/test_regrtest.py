"""CPython's own regression tests say the same inside a sandbox of the `python` profile as outside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
BASE = os.path.realpath(sys._base_executable)
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
AT_LEAST = 150
# Processes, threads, sockets, files: what a sandbox is most likely to break.
MUST_AGREE = {
    *("test_asyncio", "test_subprocess", "test_threading", "test_sqlite3", "test_ssl", "test_zipfile"),
    *("test_multiprocessing_fork", "test_multiprocessing_forkserver", "test_multiprocessing_spawn"),
    *("test_multiprocessing_main_handling", "test_tempfile", "test_shutil"),
}
NO_SUITE = 77


def documented(heading: str) -> set[str]:
    """The modules that a table of docs/real-input.md has for this version of Python."""
    section = (ROOT / "docs/real-input.md").read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(test_\w+)` \| ([\d., ]+) \|", section, re.M)
    return {module for module, versions in rows if VERSION in versions.split(", ")}


def compare(out: Path, *modules: str) -> dict[str, dict[str, dict]]:
    """scripts/regrtest.py, behind the other tests when the processors are busy: some of those measure time."""
    script = [sys.executable, ROOT / "scripts/regrtest.py", "--out", out, "--python", BASE, *modules]
    done = subprocess.run(["nice", *script], cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode == NO_SUITE:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    sys.stdout.write(done.stdout)
    return json.loads(out.read_text())


@pytest.mark.slow
def test_the_verdicts_are_the_same_but_for_those_in_the_docs(tmp_path: Path) -> None:
    compared = compare(tmp_path / "verdicts.json")
    same = {module for module, pair in compared.items() if pair["outside"]["word"] == pair["inside"]["word"]}
    assert len([module for module in same if compared[module]["inside"]["word"] != "skipped"]) >= AT_LEAST
    assert not MUST_AGREE - same
    assert set(compared) - same == documented("What differs")
    assert failed(compared, same) == documented("What fails on both sides")
    for module in same:
        outside, inside = (compared[module][side]["cases"].get("passed", 0) for side in ("outside", "inside"))
        assert inside >= 0.7 * outside, f"{module} skips too much: {compared[module]}"


def failed(compared: dict[str, dict[str, dict]], same: set[str]) -> set[str]:
    """Which of those agree on anything but success. "skipped" is for what this version or machine does not have."""
    return {module for module in same if compared[module]["inside"]["word"] not in {"OK", "skipped"}}


def test_a_control_that_breaks_a_module_is_seen(tmp_path: Path) -> None:
    """What the comparison is worth: a file-size limit breaks a case of test_resource, and the comparison names it."""
    compared = compare(tmp_path / "verdicts.json", "test_resource", "test_bool")
    assert compared["test_bool"]["outside"]["word"] == compared["test_bool"]["inside"]["word"] == "OK"
    assert compared["test_resource"]["outside"]["word"] == "OK"
    assert compared["test_resource"]["inside"]["word"] == "failed"
    assert any("test_fsize_ismax" in reason for reason in compared["test_resource"]["inside"]["bad"])
