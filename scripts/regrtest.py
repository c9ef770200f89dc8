#!/usr/bin/env python3
"""Compare CPython's own regression tests outside and inside hivebox: scripts/regrtest.py --out FILE [MODULE...]

Each module runs twice: as an ordinary user in an empty network namespace, and in a sandbox of the `python` profile
(scripts/regrtest.yaml: its system calls, larger limits), both at once. Interpreter, environment and kind of file system
are the same, so a difference is the sandbox's doing. A module whose verdicts differ is tried again, since some are
races. Exit code: 0 however many differ, 77 without a test suite. What differs, and why: docs/real-input.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ENVIRONMENT = {"LANG": "C.UTF-8", "USER": "hive", "LOGNAME": "hive", "PATH": "/usr/local/bin:/usr/bin:/bin"}
INSIDE_ID, ORDINARY_ID = 1000, 65534
TRIES = 3
NO_SUITE = 77  # what test drivers take as "skipped"
SLOW = (
    *("test_asyncio", "test_multiprocessing_spawn", "test_multiprocessing_forkserver", "test_multiprocessing_fork"),
    *("test_subprocess", "test_ssl", "test_multiprocessing_main_handling"),
)
QUICK = tuple(f"test_{name}" for name in HERE.joinpath("regrtest.txt").read_text().split())  # about a second each
SLOW_S, QUICK_S = 500, 90


class Verdict(NamedTuple):
    """``word`` is regrtest's own verdict; ``cases`` counts test cases by outcome; ``bad`` has those that failed, with
    the last line of the reason; ``note`` what the sandbox refused."""

    word: str
    cases: dict[str, int]
    bad: tuple[str, ...]
    wall_s: float
    note: str = ""


class Job(NamedTuple):
    """One module. ``suite`` is a directory with a `test` package of its own, or None for the interpreter's."""

    module: str
    python: str
    suite: Path | None

    @property
    def time_s(self) -> int:
        return SLOW_S if self.module in SLOW else QUICK_S

    @property
    def command(self) -> list[str]:
        options = ["--timeout", str(self.time_s), "--junit-xml", "cases.xml"]
        return [self.python, "-m", "test", *options, self.module]


def main() -> int:
    chosen = _arguments()
    if chosen.outside:
        become_ordinary()
        os.execvp(chosen.modules[0], chosen.modules)
    here = suite_of(chosen.python)
    if not here:
        sys.stderr.write(f"{chosen.python} has no test suite: scripts/setup {package(chosen.python)}\n")
        return NO_SUITE
    with tempfile.TemporaryDirectory(prefix="regrtest-suite-") as own:
        jobs = [job for module in chosen.modules if (job := plan(module, chosen.python, here, Path(own)))]
        compared = run_all(jobs, chosen.jobs)
    same = sum(outside.word == inside.word for outside, inside in compared.values())
    print(f"{same} of {len(compared)} modules give the same verdict")
    plain = {module: {"outside": pair[0]._asdict(), "inside": pair[1]._asdict()} for module, pair in compared.items()}
    chosen.out.write_text(json.dumps(plain, indent=1, sort_keys=True) + "\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare CPython's regression tests outside and inside hivebox.")
    parser.add_argument("--out", type=Path, default=Path(os.devnull), help="where to write the verdicts as JSON")
    parser.add_argument("--python", default="/usr/bin/python3", help="the interpreter whose tests run")
    parser.add_argument("--jobs", type=int, default=3, help="how many modules at once, each on both sides")
    parser.add_argument("--outside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("modules", nargs="*", default=SLOW + QUICK)
    return parser.parse_args()


def _ask(python: str, code: str) -> str:
    return subprocess.run([python, "-c", code], check=False, capture_output=True, text=True).stdout.strip()


def package(python: str) -> str:
    """Debian's package with the test suite of an interpreter."""
    return _ask(python, "import sys; print('libpython%d.%d-testsuite' % sys.version_info[:2])")


def suite_of(python: str) -> Path | None:
    """The interpreter's `test` package; None where there is only the stub that Debian installs with every Python."""
    found = _ask(python, "import test.test_json, os; print(os.path.dirname(test.__file__))")
    return Path(found) if found else None


def plan(module: str, python: str, here: Path, own: Path) -> Job | None:
    """None for a module that this version of Python does not have. Debian 12 forgets test_sqlite3 when it makes its
    package: that one comes from an archive, and runs beside the interpreter's own test support."""
    if (here / module).is_dir() or (here / f"{module}.py").exists():
        return Job(module, python, None)
    archives = sorted(HERE.parent.glob(f"tests/vectors/cpython/{module}-*.tar.xz"))
    if not archives:
        return None
    for part in ("__init__.py", "__main__.py"):
        (own / "test").mkdir(exist_ok=True)
        shutil.copy(here / part, own / "test")
    for part in ("support", "libregrtest"):
        shutil.copytree(here / part, own / "test" / part, dirs_exist_ok=True)
    shutil.unpack_archive(archives[-1], own / "test")
    own.chmod(0o755)
    return Job(module, python, own)


def run_all(jobs: list[Job], at_once: int) -> dict[str, tuple[Verdict, Verdict]]:
    """Module -> verdicts outside and inside; prints a line each."""
    compared = {}
    with ThreadPoolExecutor(at_once) as pool:
        running = {pool.submit(compare, job): job.module for job in jobs}
        for done in as_completed(running):
            compared[running[done]] = done.result()
            print(line(running[done], *done.result()), flush=True)
    return compared


def compare(job: Job) -> tuple[Verdict, Verdict]:
    """The verdicts outside and inside."""
    with ThreadPoolExecutor(1) as beside:
        for _ in range(TRIES):
            there = beside.submit(outside, job)
            here = inside(job)
            pair = there.result(), here
            if pair[0].word == pair[1].word:
                break
    return pair


def line(module: str, there: Verdict, here: Verdict) -> str:
    """One module's result for people."""
    mark = "same  " if there.word == here.word else "DIFFER"
    text = f"{mark} {module}: {there.word} in {there.wall_s:.1f} s, {here.word} in {here.wall_s:.1f} s"
    if there.cases != here.cases:
        text += f"; cases {there.cases} and {here.cases}"
    if there.word != here.word:
        text += "".join(f"\n       {reason}" for reason in (*here.bad[:5], here.note) if reason)
    return text


def outside(job: Job) -> Verdict:
    """As the sandbox's user, without privileges and a network, on a tmpfs, with the sandbox's environment."""
    place = Path(tempfile.mkdtemp(prefix="regrtest-", dir="/dev/shm"))
    (place / "tmp").mkdir()
    if os.geteuid() == 0:
        os.chown(place, ORDINARY_ID, ORDINARY_ID)
        os.chown(place / "tmp", ORDINARY_ID, ORDINARY_ID)
    env = {**ENVIRONMENT, "HOME": str(place / "tmp"), "TMPDIR": str(place / "tmp")}
    if job.suite:
        env["PYTHONPATH"] = str(job.suite)
    command = [sys.executable, __file__, "--outside", "--", *job.command]
    try:
        return _run(command, job, place, cwd=place, env=env)
    finally:
        subprocess.run(["chmod", "-R", "u+rwX", place], check=False, capture_output=True)
        shutil.rmtree(place, ignore_errors=True)


def become_ordinary() -> None:
    """Drop root if need be, then enter a user, a network and a mount namespace as the sandbox's user, by number and by
    name, with the loopback up, and no signal ignored. The working directory is the module's own."""
    sys.path.insert(0, str(HERE.parent))
    from hivebox.kernel import process  # noqa: PLC0415
    from hivebox.kernel.mount import MS_BIND, mount  # noqa: PLC0415
    from hivebox.steps.network import Network  # noqa: PLC0415
    from hivebox.steps.rootfs import ETC  # noqa: PLC0415

    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(ORDINARY_ID, ORDINARY_ID, ORDINARY_ID)
        os.setresuid(ORDINARY_ID, ORDINARY_ID, ORDINARY_ID)
        process.set_dumpable(dumpable=True)  # or its own /proc/self/uid_map stays root's
    uid, gid = os.geteuid(), os.getegid()
    process.unshare(process.CLONE_NEWUSER | process.CLONE_NEWNET | process.CLONE_NEWNS)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{INSIDE_ID} {uid} 1"), ("gid_map", f"{INSIDE_ID} {gid} 1")):
        Path(f"/proc/self/{name}").write_text(text)
    Network().set_up()
    for name in ("passwd", "group", "nsswitch.conf"):
        Path(name).write_text(ETC[name])
        mount(name, f"/etc/{name}", "", MS_BIND)
    for ignored in (signal.SIGINT, signal.SIGQUIT):  # as by a shell that starts us in the background
        signal.signal(ignored, signal.SIG_DFL)
    process.set_pdeathsig(signal.SIGKILL)


def inside(job: Job) -> Verdict:
    """In a sandbox."""
    place = Path(tempfile.mkdtemp(prefix="regrtest-"))
    report = place / "report.json"
    options = ["-q", "-p", str(HERE / "regrtest.yaml"), "--python", job.python]
    options += ["--out", str(place / "out"), "--report", str(report)]
    if job.suite:
        options += ["--ro", f"{job.suite}:/suite", "--env", "PYTHONPATH=/suite"]
    command = [sys.executable, "-m", "hivebox", "run", *options, "--", *job.command]
    try:
        verdict = _run(command, job, place / "out", cwd=HERE.parent)
        return verdict._replace(note=_note(json.loads(text))) if (text := _text(report)) else verdict
    finally:
        shutil.rmtree(place)


def _text(path: Path) -> str:
    """A file's text; "" where hivebox itself failed, and so wrote no report."""
    return path.read_text() if path.exists() else ""


def _note(report: dict[str, Any]) -> str:
    refused = [f"{one['name']} refused {one['times']} times" for one in report["violations"]]
    return "; ".join([*refused, (report["cause"] or {}).get("text", "")]).rstrip("; ")


def _run(command: list[str], job: Job, results: Path, **options: Any) -> Verdict:
    """``results`` is where the program's working directory can be read afterwards."""
    started = time.monotonic()
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    running = subprocess.Popen(command, start_new_session=True, **streams, **options)
    try:
        output, _ = running.communicate(timeout=job.time_s + 60)
    except subprocess.TimeoutExpired:
        return Verdict("timeout", {}, (), job.time_s + 60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)  # what a module leaves behind, or all of it
        running.wait()
    wall_s = round(time.monotonic() - started, 1)
    word = _word(output)
    cases, bad = _cases(results / "cases.xml")
    note = "" if word else output[-300:].decode(errors="replace")
    return Verdict(word or f"exit code {running.returncode}", cases, bad, wall_s, note)


def _word(output: bytes) -> str:
    """The worst that regrtest says: since 3.12 it counts each file of a package such as test_asyncio."""
    found = set(re.findall(rb"^(?:All )?\d+ tests? (OK|failed|skipped|altered|run no tests)", output, re.M))
    return next((word for word in ("failed", "altered", "OK", "skipped", "run no tests") if word.encode() in found), "")


def _cases(path: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """Test cases by outcome, and those that failed."""
    cases: dict[str, int] = {}
    bad = []
    for case in ET.parse(path).iter("testcase") if path.exists() else ():
        ended = next((child for child in case if child.tag in {"failure", "error", "skipped"}), None)
        outcome = "passed" if ended is None else ended.tag
        cases[outcome] = cases.get(outcome, 0) + 1
        if ended is not None and outcome != "skipped":
            bad.append(f"{case.get('name')}: {(ended.text or '').strip().splitlines()[-1]}")
    return dict(sorted(cases.items())), tuple(bad)


if __name__ == "__main__":
    sys.exit(main())
