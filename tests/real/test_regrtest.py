"""CPython's own regression tests say the same inside a sandbox of the `python` profile as outside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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

Compared = dict[str, dict[str, dict[str, Any]]]  # module -> "outside" and "inside" -> a Verdict of scripts/regrtest.py


@pytest.mark.slow
def test_the_verdicts_are_the_same_but_for_those_in_the_docs(tmp_path: Path) -> None:
    assert not complaints(compare(tmp_path / "verdicts.json"))


def test_a_control_that_breaks_a_module_is_seen(tmp_path: Path) -> None:
    """What the comparison is worth: a file-size limit breaks a case of test_resource, and the comparison names it."""
    compared = compare(tmp_path / "verdicts.json", "test_resource", "test_bool")
    assert compared["test_bool"]["outside"]["word"] == compared["test_bool"]["inside"]["word"] == "OK"
    assert compared["test_resource"]["outside"]["word"] == "OK"
    assert compared["test_resource"]["inside"]["word"] == "failed"
    assert any("test_fsize_ismax" in reason for reason in compared["test_resource"]["inside"]["bad"])


def test_without_a_suite_it_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with the stub that Debian installs. HIVEBOX_MUST_RUN makes a failure of every skip."""
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match=f"libpython{VERSION}-testsuite"):
        compare(tmp_path / "verdicts.json", "test_bool")


def compare(out: Path, *modules: str) -> Compared:
    """By scripts/regrtest.py, behind the other tests when the processors are busy: some of those measure time."""
    script = [sys.executable, ROOT / "scripts/regrtest.py", "--out", out, "--python", BASE, *modules]
    done = subprocess.run(["nice", *script], cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode == NO_SUITE:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    sys.stdout.write(done.stdout)
    return json.loads(out.read_text())


# --- what a comparison must look like --------------------------------------------------------------------------------


def documented(heading: str) -> set[str]:
    """The modules that a table of docs/real-input.md has for this version of Python."""
    section = (ROOT / "docs/real-input.md").read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(test_\w+)` \| ([\d., ]+) \|", section, re.M)
    return {module for module, versions in rows if VERSION in versions.split(", ")}


def complaints(compared: Compared) -> list[str]:
    """What is wrong with it; empty when all is as it should be and as docs/real-input.md has it."""
    words = {module: (pair["outside"]["word"], pair["inside"]["word"]) for module, pair in compared.items()}
    same = {module for module, (outside, inside) in words.items() if outside == inside}
    ran = {module for module in same if words[module][0] != "skipped"}  # for what a machine does not have
    failed = {module for module in ran if words[module][0] != "OK"}
    found = [f"{len(ran)} agree, not {AT_LEAST}"] if len(ran) < AT_LEAST else []
    found += [f"{module} must agree: {words.get(module)}" for module in sorted(MUST_AGREE - ran)]
    for heading, actual in (("What differs", set(words) - same), ("What fails on both sides", failed)):
        table = documented(heading)
        found += [f"{module} is not in the table '{heading}': {words[module]}" for module in sorted(actual - table)]
        found += [f"{module} is in the table '{heading}': {words.get(module)}" for module in sorted(table - actual)]
    for module in sorted(same):
        outside, inside = (compared[module][side]["cases"].get("passed", 0) for side in ("outside", "inside"))
        if inside < 0.7 * outside:
            found.append(f"{module} passes {inside} of {outside} cases")
    return found


def as_documented() -> Compared:
    """Just enough of a comparison."""
    words = {f"test_{number}": ("OK", "OK") for number in range(AT_LEAST - len(MUST_AGREE))}
    words |= dict.fromkeys(MUST_AGREE, ("OK", "OK"))
    words |= dict.fromkeys(documented("What fails on both sides"), ("failed", "failed"))
    words |= dict.fromkeys(documented("What differs"), ("OK", "failed"))
    return {module: {"outside": verdict(there), "inside": verdict(here)} for module, (there, here) in words.items()}


def verdict(word: str, passed: int = 10) -> dict[str, Any]:
    return {"word": word, "cases": {"passed": passed}}


def test_a_comparison_as_documented_is_good() -> None:
    assert documented("What differs")
    assert not complaints(as_documented())


@pytest.mark.parametrize(
    ("module", "inside", "complaint"),
    [
        ("test_ssl", verdict("failed"), "test_ssl must agree: ('OK', 'failed')"),
        ("test_1", verdict("failed"), "test_1 is not in the table 'What differs': ('OK', 'failed')"),
        ("test_resource", verdict("OK"), "test_resource is in the table 'What differs': ('OK', 'OK')"),
        ("test_1", verdict("OK", 6), "test_1 passes 6 of 10 cases"),
    ],
)
def test_what_is_complained_about(module: str, inside: dict[str, Any], complaint: str) -> None:
    compared = as_documented()
    compared[module]["inside"] = inside
    assert complaint in complaints(compared)


def differ(pair: dict[str, Any]) -> None:
    pair.update(inside=verdict("timeout"))


def skip(pair: dict[str, Any]) -> None:
    pair.update(outside=verdict("skipped"), inside=verdict("skipped"))


@pytest.mark.parametrize("change", [differ, skip])
def test_fewer_modules_are_too_few(change: Callable[[dict[str, Any]], None]) -> None:
    """Skipped on both sides is no agreement either."""
    compared = as_documented()
    agreeing = [module for module in compared if re.fullmatch(r"test_\d+", module)]
    for module in agreeing[: len(compared) - AT_LEAST + 1]:
        change(compared[module])
    assert any(complaint.endswith(f"agree, not {AT_LEAST}") for complaint in complaints(compared))
