"""Many writers, killed at random, on a disk that fails now and then, with clocks that jump: nothing acknowledged is lost.

``make test-audit`` runs the long form: 50 writers, 200 records each.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hivebox.audit import history, keys, segments, verify
from hivebox.audit.ledger import Ledger
from hivebox.audit.rules import ERROR

ROOT = Path(__file__).parents[2]
LONG = bool(os.environ.get("HIVEBOX_LONG_STRESS"))
WRITER = """
import random, sys
from hivebox.audit import settings, statement, supervisor
from hivebox.audit.ledger import Ledger
from hivebox.errors import HiveboxError
state, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
jumps = random.Random(name)

def clock():
    now = statement.now()
    return now._replace(utc="2020-01-01T00:00:00.000000Z") if jumps.random() < 0.05 else now

ledger = Ledger(state, clock=clock, lock_timeout_s=60)
for number in range(count):
    try:
        who = {"supervisor": supervisor.identify(), "filler": "x" * jumps.randrange(8000)}
        made = ledger.append("started", f"{name}-{number}", [("script", "ab" * 32)], who)
        print(made.seq, made.line_sha256, flush=True)
        made = ledger.append("finished", f"{name}-{number}", [], {"result": {"outcome": "ok"}})
        print(made.seq, made.line_sha256, flush=True)
    except HiveboxError as error:
        assert error.exit_code == 125
        print("refused", str(error).replace(chr(10), " "), flush=True)
"""
FAILING = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <time.h>
/* Every tenth sync or so fails, as on a disk with bad blocks. */
int fdatasync(int fd)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if ((now.tv_nsec / 1000 + getpid()) % 10 == 0) { errno = EIO; return -1; }
    return ((int (*)(int)) dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
"""


def start_writer(state: Path, name: str, count: int, preload: str = "") -> subprocess.Popen[str]:
    environment = {**os.environ, "LD_PRELOAD": preload}
    command = [sys.executable, "-c", WRITER, str(state), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)


def acknowledged(printed: str) -> set[tuple[int, str]]:
    """Without a line that the kill cut short."""
    lines = [
        line for line in printed.splitlines(keepends=True) if line.endswith("\n") and not line.startswith("refused")
    ]
    return {(int(line.split()[0]), line.split()[1]) for line in lines}


def check(state: Path, told: set[tuple[int, str]]) -> None:
    Ledger(str(state), lock_timeout_s=60).append("started", "after-all", [], {})
    lines = list(segments.read_lines(str(state / "audit")))
    verdict = verify.verify(lines, keys.public_keys(str(state)))
    assert [found for found in verdict.findings if found.severity == ERROR] == []
    assert told <= {(entry.record.seq, entry.sha256()) for entry in history.entries(lines)}
    assert len({seq for seq, _ in told}) == len(told), "no number was given out twice"


def storm(state: Path, writers: int, records: int, kills: int) -> None:
    chosen = random.Random(5)
    started = [start_writer(state, f"w{number}", records // 2) for number in range(writers)]
    for victim in chosen.sample(started, kills):
        time.sleep(chosen.random() * 0.3)
        victim.kill()
    told: set[tuple[int, str]] = set()
    for writer in started:
        told |= acknowledged(writer.communicate()[0])
    assert len(told) > (writers - kills) * records // 2
    check(state, told)


def test_writers_killed_at_random_lose_nothing(tmp_path: Path) -> None:
    storm(tmp_path / "state", *((50, 200, 20) if LONG else (8, 20, 4)))


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_a_disk_whose_syncs_fail_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Who waited for the failed sync of another is refused too, or has its record synced again: never told what is not."""
    (tmp_path / "failing.c").write_text(FAILING)
    library = str(tmp_path / "failing.so")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, str(tmp_path / "failing.c"), "-ldl"], check=True)
    writers = 30 if LONG else 6
    started = [start_writer(tmp_path / "state", f"w{number}", 20, library) for number in range(writers)]
    printed = [writer.communicate()[0] for writer in started]
    assert [writer.returncode for writer in started] == [0] * writers
    refused = [line for text in printed for line in text.splitlines() if line.startswith("refused")]
    assert refused, "the disk did fail"
    assert all("EIO" in line or "the disk failed" in line for line in refused)
    check(tmp_path / "state", set().union(*map(acknowledged, printed)))


FULL = """
mount -t tmpfs -o size=600k,mode=700 tmpfs "$1"
for number in $(seq "$5"); do "$2" -c "$3" "$1/state" "w$number" 20 >"$4/told-$number" & done
wait
cp -a "$1/state" "$4/state"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_writers_on_a_full_disk_lose_nothing(tmp_path: Path) -> None:
    """A small tmpfs in a mount namespace of its own; copied out to be verified where there is room."""
    disk, out, writers = tmp_path / "disk", tmp_path / "out", 50 if LONG else 6
    disk.mkdir()
    out.mkdir()
    words = [str(disk), sys.executable, WRITER, str(out), str(writers)]
    subprocess.run(["unshare", "-m", "sh", "-ec", FULL, "sh", *words], check=True, cwd=ROOT)
    printed = [path.read_text() for path in out.glob("told-*")]
    refused = [line for text in printed for line in text.splitlines() if line.startswith("refused")]
    assert refused, "the disk was full"
    assert all("ENOSPC" in line for line in refused)
    check(out / "state", set().union(*map(acknowledged, printed)))
