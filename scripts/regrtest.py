#!/usr/bin/env python3
"""Compare CPython's own regression tests outside and inside hivebox: scripts/regrtest.py --out FILE [MODULE...]

Each module runs twice: as an ordinary user in an empty network namespace, and in a sandbox of the `python` profile
(scripts/regrtest.yaml: its grants, larger limits). Environment, interpreter and kind of file system are the same, so
what differs is the sandbox's doing. A module is tried again when its verdicts differ, since some tests race.
Exit code: 0 however many differ, 1 if there is no test suite.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ENVIRONMENT = {"LANG": "C.UTF-8", "USER": "hive", "LOGNAME": "hive", "PATH": "/usr/local/bin:/usr/bin:/bin"}
INSIDE_UID, ROOTS_UID = 1000, 65534
NEWUSER_AND_NEWNET = 0x1000_0000 | 0x4000_0000
SLOW_S, QUICK_S = 240, 60
SLOW = (
    "test_asyncio test_multiprocessing_fork test_multiprocessing_forkserver test_multiprocessing_spawn test_subprocess"
)
QUICK = ""


class Verdict(NamedTuple):
    """``word`` is regrtest's own; ``cases`` are test cases by outcome; ``bad`` those that failed."""

    word: str
    cases: dict[str, int]
    bad: tuple[str, ...]
    wall_s: float
    note: str = ""


def main() -> int:
    """Compare, print one line a module, write the JSON."""
    chosen = _arguments()
    if chosen.outside:
        _become_ordinary()
        os.execvp(chosen.modules[0], chosen.modules)
    if subprocess.run([chosen.python, "-c", "import test.libregrtest"], check=False, capture_output=True).returncode:
        sys.stderr.write(f"{chosen.python} has no test suite: scripts/setup {package(chosen.python)}\n")
        return 1
    with ThreadPoolExecutor(chosen.jobs) as pool:
        compared = {}
        for module, pair in pool.map(lambda module: (module, compare(module, chosen.python)), chosen.modules):
            compared[module] = pair
            print(line(module, *pair), flush=True)
    same = sum(outside.word == inside.word for outside, inside in compared.values())
    print(f"{same} of {len(compared)} modules give the same verdict")
    plain = {module: {"outside": pair[0]._asdict(), "inside": pair[1]._asdict()} for module, pair in compared.items()}
    chosen.out.write_text(json.dumps(plain, indent=1) + "\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(os.devnull), help="where to write both verdicts as JSON")
    parser.add_argument("--python", default="/usr/bin/python3", help="the interpreter whose tests run")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--outside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("modules", nargs="*", default=(SLOW + " " + QUICK).split())
    return parser.parse_args()


def package(python: str) -> str:
    """Debian's package with the test suite of an interpreter."""
    command = [python, "-c", "import sys; print('libpython%d.%d-testsuite' % sys.version_info[:2])"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def compare(module: str, python: str) -> tuple[Verdict, Verdict]:
    """The verdicts outside and inside."""
    suite = missing_suite(module, python)
    try:
        pair = outside(module, python, suite), inside(module, python, suite)
        if pair[0].word != pair[1].word:
            pair = outside(module, python, suite), inside(module, python, suite)
    finally:
        if suite:
            shutil.rmtree(suite)
    return pair


def line(module: str, there: Verdict, here: Verdict) -> str:
    """One module's result for people."""
    mark = "same  " if there.word == here.word else "DIFFER"
    text = f"{mark} {module}: {there.word} in {there.wall_s:.1f} s, {here.word} in {here.wall_s:.1f} s"
    if there.cases != here.cases:
        text += f"; cases {there.cases} and {here.cases}"
    return f"{text} {' '.join(here.bad[:5])} {here.note}".rstrip() if there.word != here.word else text


def missing_suite(module: str, python: str) -> Path | None:
    """A directory whose `test` package has ``module``, for the one that Debian 12 leaves out of its package."""
    archives = sorted(HERE.parent.glob(f"tests/vectors/cpython/{module}-*.tar.xz"))
    asked = "import test, importlib.util as u; print(test.__path__[0], u.find_spec('test.' + __import__('sys').argv[1]))"
    there, spec = subprocess.run(
        [python, "-c", asked, module], check=True, capture_output=True, text=True
    ).stdout.strip().split(" ", 1)
    if spec != "None" or not archives:
        return None
    suite = Path(tempfile.mkdtemp(prefix="regrtest-suite-"))
    for part in ("__init__.py", "__main__.py"):
        (suite / "test").mkdir(exist_ok=True)
        shutil.copy(f"{there}/{part}", suite / "test")
    for part in ("support", "libregrtest"):
        shutil.copytree(f"{there}/{part}", suite / "test" / part)
    shutil.unpack_archive(archives[-1], suite / "test")
    suite.chmod(0o755)
    return suite


def _command(module: str, python: str) -> list[str]:
    return [python, "-m", "test", "--timeout", str(_time_s(module)), "--junit-xml", "cases.xml", module]


def _time_s(module: str) -> int:
    return SLOW_S if module in SLOW.split() else QUICK_S


def outside(module: str, python: str, suite: Path | None) -> Verdict:
    """As a user without privileges, without a network, on a tmpfs, with the sandbox's environment."""
    place = Path(tempfile.mkdtemp(prefix="regrtest-", dir="/dev/shm"))
    (place / "tmp").mkdir()
    if os.geteuid() == 0:
        os.chown(place, ROOTS_UID, ROOTS_UID)
        os.chown(place / "tmp", ROOTS_UID, ROOTS_UID)
    env = {**ENVIRONMENT, "HOME": str(place / "tmp"), "TMPDIR": str(place / "tmp")}
    if suite:
        env["PYTHONPATH"] = str(suite)
    command = [sys.executable, __file__, "--outside", "--", *_command(module, python)]
    try:
        return _run(command, place, _time_s(module), cwd=place, env=env)
    finally:
        subprocess.run(["chmod", "-R", "u+rwX", place], check=False, capture_output=True)
        shutil.rmtree(place, ignore_errors=True)


def inside(module: str, python: str, suite: Path | None) -> Verdict:
    """In a sandbox."""
    place = Path(tempfile.mkdtemp(prefix="regrtest-"))
    report = place / "report.json"
    options = ["-q", "-p", str(HERE / "regrtest.yaml"), "--python", python, "--timeout", f"{_time_s(module) + 20}s"]
    options += ["--out", str(place / "out"), "--report", str(report)]
    if suite:
        options += ["--ro", f"{suite}:/suite", "--env", "PYTHONPATH=/suite"]
    command = [sys.executable, "-m", "hivebox", "run", *options, "--", *_command(module, python)]
    try:
        verdict = _run(command, place / "out", _time_s(module), cwd=HERE.parent)
        return verdict._replace(note=_note(json.loads(report.read_text()))) if report.exists() else verdict
    finally:
        shutil.rmtree(place)


def _note(report: dict) -> str:
    refused = ", ".join(f"{one['name']} {one['times']}x" for one in report["violations"])
    cause = (report["cause"] or {}).get("text", "")
    return "; ".join(text for text in (refused and f"refused: {refused}", cause) if text)


def _run(command: list[str], results: Path, time_s: int, **options: object) -> Verdict:
    started = time.monotonic()
    try:
        done = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, timeout=time_s + 40, **options
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Verdict("timeout", {}, (), time.monotonic() - started)
    wall_s = time.monotonic() - started
    return _verdict(done.stdout.decode(errors="replace"), done.returncode, results / "cases.xml", round(wall_s, 1))


def _verdict(output: str, code: int, cases_file: Path, wall_s: float) -> Verdict:
    found = re.search(r"^1 test (OK|failed|skipped|altered|run no tests|omitted)", output, re.M)
    word = found[1] if found else f"exit code {code}"
    cases: dict[str, int] = {}
    bad = []
    if cases_file.exists():
        for case in ET.parse(cases_file).iter("testcase"):
            ended = next((child for child in case if child.tag in {"failure", "error", "skipped"}), None)
            outcome = "passed" if ended is None else ended.tag
            cases[outcome] = cases.get(outcome, 0) + 1
            if ended is not None and outcome != "skipped":
                bad.append(f"{case.get('name', '')}: {(ended.text or '').strip().rpartition(chr(10))[2]}")
    note = "" if found else output[-300:]
    if os.environ.get("REGRTEST_DEBUG"):
        Path(os.environ["REGRTEST_DEBUG"]).joinpath(f"{time.time():.2f}.txt").write_text(output)
    return Verdict(word, dict(sorted(cases.items())), tuple(bad), wall_s, note)


def _become_ordinary() -> None:
    """Drop root if need be, then enter a user and network namespace as user 1000 with the loopback up."""
    sys.path.insert(0, str(HERE.parent))
    from hivebox.kernel import process  # noqa: PLC0415
    from hivebox.steps.network import Network  # noqa: PLC0415

    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(ROOTS_UID, ROOTS_UID, ROOTS_UID)
        os.setresuid(ROOTS_UID, ROOTS_UID, ROOTS_UID)
        process.set_dumpable(dumpable=True)
    uid, gid = os.geteuid(), os.getegid()
    process.unshare(NEWUSER_AND_NEWNET)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{INSIDE_UID} {uid} 1"), ("gid_map", f"{INSIDE_UID} {gid} 1")):
        Path(f"/proc/self/{name}").write_text(text)
    Network().apply_init()


if __name__ == "__main__":
    sys.exit(main())
