"""What whoever can touch the files beside the ledger, a lying clock or a bad moment can do to it: nothing that goes
unnoticed, and no append that hangs or writes elsewhere."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hivebox.audit import history, keys, rotation, segments, settings, statement, supervisor, verify
from hivebox.audit.ledger import Appended, Ledger
from hivebox.audit.rules import ERROR
from hivebox.errors import HiveboxError
from tests.unit.test_audit_stress import acknowledged, check, start_writer

ROOT = Path(__file__).parents[2]
SECRET = b"a file elsewhere\n"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "victim").write_bytes(SECRET)
    settings.save(str(tmp_path / "state"), settings.Settings())
    start(tmp_path / "state", "first")
    return tmp_path / "state"


def start(state: Path, run_id: str) -> Appended:
    content = {"supervisor": supervisor.identify()}
    return Ledger(str(state), lock_timeout_s=5).append("started", run_id, [("script", "ab" * 32)], content)


def verdict_of(state: Path) -> verify.Verdict:
    return verify.verify(segments.read_lines(str(state / "audit")), keys.public_keys(str(state)))


def rules_of(state: Path) -> list[str]:
    return [found.rule for found in verdict_of(state).findings if found.severity == ERROR]


# The files beside it


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parents[2] / "victim")


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def noise(path: Path) -> None:
    path.write_bytes(random.Random(3).randbytes(5000))


@pytest.mark.parametrize("name", ["state", "commit", "settings.json"])
@pytest.mark.parametrize("spoil", [fifo, link, directory, noise])
def test_a_spoilt_file_beside_the_ledger_refuses_the_run_or_is_made_anew(
    state: Path, name: str, spoil: Callable[[Path], None]
) -> None:
    spoil(state / "audit" / name)
    began, told = time.monotonic(), 1
    try:
        told += start(state, "second").seq
    except HiveboxError as error:
        assert error.exit_code == 125
    assert time.monotonic() - began < 5, "a FIFO is not waited for"
    assert (state.parent / "victim").read_bytes() == SECRET
    assert verdict_of(state).records == told
    assert rules_of(state) == []


@pytest.mark.parametrize("seed", range(40))
def test_a_state_that_is_not_what_was_written_is_rebuilt(state: Path, seed: int) -> None:
    """A bit that flipped, or a field that somebody changed: a wrong number would make records that do not verify."""
    chosen, path = random.Random(seed), state / "audit/state"
    text, check = path.read_text().split("\n")[0].rsplit(" ", 1)
    if seed % 2:
        at = chosen.randrange(len(text))
        path.write_text(text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :] + f" {check}\n")
    else:
        others = [-1, 0, 1 << 70, "x", None, [1], {"r": [1, 2]}, {"r": "abcde"}, 0.5, True]
        said = json.loads(text)
        path.write_text(json.dumps({**said, chosen.choice(sorted(said)): chosen.choice(others)}) + f" {check}\n")
    assert start(state, "second").seq == 1
    assert rules_of(state) == []
    assert sorted(run.record.run_id for run in verdict_of(state).open_runs) == ["first", "second"]


DISK_FAILS = """
import errno, sys
import pyseccomp
from hivebox.audit.ledger import Ledger
from hivebox.errors import HiveboxError
ledger = Ledger(sys.argv[1])
ledger.prepare()
kernel = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
kernel.add_rule(pyseccomp.ERRNO(errno.EIO), "fdatasync")
kernel.load()
try:
    ledger.append("started", "second", [], {})
except HiveboxError as error:
    print(error.why)
"""


@pytest.mark.parametrize("lie", ["another boot", "another file", "more than there is", "nothing at all"])
def test_a_note_of_another_time_is_not_taken_for_a_sync(state: Path, lie: str) -> None:
    """The kernel answers fdatasync with EIO: whoever believed the note would tell of a record that is not on the disk."""
    boot, ino, size = (state / "audit/commit").read_text().split()
    note = {
        "another boot": f"00000000-{boot[9:]} {ino} {size}9",
        "another file": f"{boot} {int(ino) + 1} 1",
        "more than there is": f"{boot} {ino} 99999999",
        "nothing at all": "",
    }[lie]
    (state / "audit/commit").write_text(note + "\n")
    command = [sys.executable, "-c", DISK_FAILS, str(state)]
    assert "EIO" in subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert verdict_of(state).records == 1


# Bad moments


def test_writers_recoveries_and_rotations_at_once(state: Path) -> None:
    """Segments of three records, a torn end now and then, writers killed: each takes both locks, in one order."""
    settings.save(str(state), settings.Settings(segment_bytes=5000, checkpoint_every=7))
    writers = [start_writer(state, f"w{number}", 12) for number in range(6)]
    command = [sys.executable, "-m", "hivebox", "audit", "rotate"]
    environment = {**os.environ, "HIVEBOX_STATE": str(state)}
    rotating = [subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL) for _ in range(4)]
    time.sleep(0.4)
    for victim in (*writers[:2], rotating[0]):
        victim.kill()
    told = set().union(*(acknowledged(writer.communicate()[0]) for writer in writers))
    assert [each.wait() for each in rotating[1:]] == [0] * 3
    assert len(told) > 4 * 12
    check(state, told)
    assert len(segments.closed(str(state / "audit"))) > 5


@pytest.mark.parametrize("name", ["ledger.jsonl", "commit"])
def test_a_stopped_holder_of_either_lock_ends_in_an_error(state: Path, name: str) -> None:
    code = "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); time.sleep(99)"
    command = [sys.executable, "-c", code, str(state / "audit" / name)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.send_signal(signal.SIGSTOP)
        with pytest.raises(
            HiveboxError, match="for too long" if name == "ledger.jsonl" else "takes too long"
        ) as caught:
            Ledger(str(state), lock_timeout_s=0.3).append("started", "second", [], {})
        assert caught.value.exit_code == 125
        holder.kill()
    start(state, "third")
    assert rules_of(state) == []


# Lying clocks


def at(utc: str) -> Callable[[], statement.Moment]:
    return lambda: statement.now()._replace(utc=utc)


def test_a_key_does_not_outlive_its_last_day(state: Path) -> None:
    """What it signed then no verifier would take; a clock that is set on refuses runs, and spoils nothing."""
    rotation.rotate(str(state), "", "2030-01-31T23:59:59.999999Z")
    Ledger(str(state), clock=at("2030-01-31T23:00:00.000000Z")).append("started", "in-time", [], {})
    for event, content in (("started", {}), ("key", {"key": {"action": "revoke", "keyid": "x", "reason": ""}})):
        with pytest.raises(HiveboxError, match="until 2030-01-31"):
            Ledger(str(state), clock=at("2030-02-01T00:00:00.000000Z")).append(event, "late", [], content)
    start(state, "the-clock-is-right-again")
    assert rules_of(state) == []


def test_a_clock_that_jumps_neither_ends_a_living_run_nor_hides_a_dead_one(state: Path) -> None:
    """Who is dead is told by boot and process, never by the time of day."""
    code = "import sys; from tests.unit.test_audit_hostile import Path, start; start(Path(sys.argv[1]), 'dead')"
    subprocess.run([sys.executable, "-c", code, str(state)], cwd=ROOT, check=True)
    Ledger(str(state), clock=at("1970-01-01T00:00:00.000000Z")).append("started", "early", [], {})
    Ledger(str(state), clock=at("2200-01-01T00:00:00.000000Z")).append("started", "late", [], {})
    ended = [
        e.record.run_id
        for e in history.entries(segments.read_lines(str(state / "audit")))
        if e.record.event == "aborted"
    ]
    assert ended == ["dead"]
    assert "clock" in {found.rule for found in verdict_of(state).findings}
    assert rules_of(state) == []
