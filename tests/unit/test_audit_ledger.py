"""Appending: durable, whole or nothing, one writer at a time, on real files and a real kernel."""

from __future__ import annotations

import calendar
import contextlib
import fcntl
import hashlib
import json
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hivebox.audit import history, keys, place, segments, statement, supervisor
from hivebox.audit.ledger import Appended, Ledger, draft
from hivebox.audit.rules import ERROR
from hivebox.audit.verify import Head, Verdict, verify
from hivebox.errors import HiveboxError

SPAWN = multiprocessing.get_context("spawn")
ROOT = Path(__file__).parents[2]
SUBJECTS = [("script", "ab" * 32), ("profile", "cd" * 32)]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def path_of(state: Path) -> Path:
    return state / "audit" / "ledger.jsonl"


def start(state: Path, run_id: str, **predicate: Any) -> Appended:
    return Ledger(str(state)).append("started", run_id, SUBJECTS, predicate)


def verdict_of(state: Path, head: Head | None = None) -> Verdict:
    public = keys.public_from_pem((state / "keys" / keys.PUBLIC_NAME).read_bytes())
    return verify(segments.read_lines(str(state / "audit")), {keys.keyid_of(public): public}, head)


def rules_of(state: Path) -> list[str]:
    return [found.rule for found in verdict_of(state).findings if found.rule != "incomplete"]


def files_of(state: Path) -> list[str]:
    return sorted(path.name for path in (state / "audit").iterdir())


# What an append writes


def test_two_records_of_a_run_verify_and_say_what_the_caller_said(state: Path) -> None:
    ledger = Ledger(str(state))
    ledger.append("started", "run-1", SUBJECTS, {"request": {"argv": ["a", "\udcff"]}})
    appended = ledger.append("finished", "run-1", SUBJECTS, {"result": {"wall_s": 0.125}})
    assert verdict_of(state).findings == ()
    assert verdict_of(state).head == Head(appended.seq, appended.line_sha256) == Head(1, appended.line_sha256)
    one, two = history.entries(segments.file_lines(appended.path))
    assert (one.record.prev, two.record.prev) == ("0" * 64, hashlib.sha256(one.raw).hexdigest())
    assert one.record.predicate["request"] == {"argv": ["a", {"base64": "/w=="}]}
    assert two.record.predicate["result"] == {"wall_s": 0.125}
    assert one.record.subjects == tuple(SUBJECTS)


def test_the_ledger_is_private_whatever_the_umask(state: Path) -> None:
    before = os.umask(0)
    try:
        start(state, "a")
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in (state, state / "audit", path_of(state))]
    assert modes == [0o700, 0o700, 0o600]


def test_times_come_from_three_clocks_of_this_boot(state: Path) -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.monotonic_ns(), time.time()
    start(state, "a")
    (entry,) = history.entries(segments.read_lines(str(state / "audit")))
    moment = entry.record.moment
    assert before[0] <= moment.boottime_ns <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert before[1] <= moment.monotonic_ns <= time.monotonic_ns()
    assert moment.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    stamp = time.strptime(moment.utc[:19], "%Y-%m-%dT%H:%M:%S")
    assert abs(before[2] - calendar.timegm(stamp)) < 5
    assert moment.utc[19] == "."
    assert moment.utc.endswith("Z")


def test_a_clock_set_back_is_written_and_noticed(state: Path) -> None:
    late = statement.Moment("2030-01-01T00:00:00.000000Z", 50, 50, "boot")
    Ledger(str(state), clock=lambda: late).append("started", "a", SUBJECTS, {})
    early = statement.Moment("2020-01-01T00:00:00.000000Z", 60, 60, "boot")
    Ledger(str(state), clock=lambda: early).append("finished", "a", SUBJECTS, {})
    assert rules_of(state) == ["clock"]
    assert verdict_of(state).good


# What an append refuses


@pytest.mark.parametrize(
    ("event", "run_id", "subjects", "predicate", "why"),
    [
        ("started", "", SUBJECTS, {}, "run_id"),
        ("started", "../x", SUBJECTS, {}, "run_id"),
        ("started", "x" * 129, SUBJECTS, {}, "run_id"),
        ("exploded", "x", SUBJECTS, {}, "exploded"),
        ("started", "x", [("script", "AB" * 32)], {}, "64 hex digits"),
        ("started", "x", SUBJECTS, {"ledger": {}}, "itself writes"),
        ("started", "x", SUBJECTS, {"time": 0}, "itself writes"),
        ("started", "x", SUBJECTS, {"wall_s": float("nan")}, "not finite"),
        ("started", "x", SUBJECTS, {"wall_s": float("inf")}, "not finite"),
        ("started", "x", SUBJECTS, {"b": b""}, "no JSON form"),
        ("started", "x", SUBJECTS, {"big": "x" * (12 << 20)}, "the ledger takes 16777215"),
    ],
)
def test_a_record_is_refused_and_the_ledger_untouched(
    state: Path, event: str, run_id: str, subjects: Any, predicate: dict[str, Any], why: str
) -> None:
    start(state, "before")
    was = path_of(state).read_bytes()
    with pytest.raises(HiveboxError, match=why) as caught:
        Ledger(str(state)).append(event, run_id, subjects, predicate)
    assert caught.value.exit_code == 125
    assert path_of(state).read_bytes() == was


def test_the_largest_record_reads_back(state: Path) -> None:
    start(state, "big", text="x" * (12_580_000))
    start(state, "next")
    assert path_of(state).stat().st_size > 16_500_000
    assert rules_of(state) == []


def group_writable(state: Path) -> None:
    path_of(state).chmod(0o620)


def symbolic_link(state: Path) -> None:
    path_of(state).rename(state / "elsewhere")
    path_of(state).symlink_to(state / "elsewhere")


def dangling_link(state: Path) -> None:
    path_of(state).unlink()
    path_of(state).symlink_to(state / "victim")


def linked_directory(state: Path) -> None:
    (state / "audit").rename(state / "elsewhere")
    (state / "audit").symlink_to("elsewhere")


def fifo(state: Path) -> None:
    path_of(state).unlink()
    os.mkfifo(path_of(state), 0o600)


def open_directory(state: Path) -> None:
    (state / "audit").chmod(0o722)


def two_bad_lines(state: Path) -> None:
    with path_of(state).open("ab") as file:
        file.write(b"one\ntwo\n")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (group_writable, "mode 0620"),
        (symbolic_link, "symbolic link"),
        (dangling_link, "symbolic link"),
        (linked_directory, "ENOTDIR"),
        (fifo, "not a regular file"),
        (open_directory, "mode 0722"),
        (two_bad_lines, "no crash leaves that"),
    ],
)
def test_a_ledger_is_refused_that_is(state: Path, spoil: Callable[[Path], None], why: str) -> None:
    start(state, "a")
    spoil(state)
    before = sorted((path, path.lstat().st_size) for path in state.rglob("*"))
    with pytest.raises(HiveboxError, match=why):
        start(state, "b")
    assert sorted((path, path.lstat().st_size) for path in state.rglob("*")) == before


@needs_root
@pytest.mark.parametrize("name", ["", "audit", "audit/ledger.jsonl"])
def test_what_belongs_to_another_user_is_refused(state: Path, name: str) -> None:
    start(state, "a")
    os.chown(state / name, 65534, 65534)
    with pytest.raises(HiveboxError, match="owned by uid 65534"):
        start(state, "b")


def append_as_nobody(state: str) -> str:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    try:
        start(Path(state), "x")
    except HiveboxError as error:
        return str(error)
    return "written"


@needs_root
@pytest.mark.parametrize("open_to_all", [False, True])
def test_another_tenant_writes_nothing_here(open_to_all: bool) -> None:
    with contextlib.ExitStack() as stack:
        base = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
        stack.callback(subprocess.run, ["rm", "-rf", str(base)], check=True)
        base.chmod(0o755)
        start(base / "state", "a")
        if open_to_all:
            (base / "state").chmod(0o777)
        with SPAWN.Pool(1) as pool:
            refused = pool.apply(append_as_nobody, (str(base / "state"),))
        assert ("owned by uid 0" if open_to_all else "EACCES") in refused
        (base / "state").chmod(0o700)
        assert verdict_of(base / "state").records == 1


# Crashes


def cuts(line: bytes) -> Iterator[bytes]:
    """What a kill or a power loss may leave of a line: any beginning, or blocks of zeros before a good end."""
    yield from (line[:length] for length in (1, 2, 100, len(line) - 2, len(line) - 1))
    yield b"\0" * 300 + line[300:]
    yield b"\0" * len(line)
    yield b"\n"


def after_a_reboot(state: Path) -> None:
    """As if the last append had been in another boot of this host."""
    path = state / "audit" / "state"
    path.write_bytes(place._sealed({**place._unsealed(path.read_bytes()), "boot_id": "before"}))


@pytest.mark.parametrize("index", range(8))
@pytest.mark.parametrize("records", [1, 3])
def test_a_torn_end_is_dropped_and_the_next_record_says_so(state: Path, records: int, index: int) -> None:
    """``records`` 1: the very first record is the torn one."""
    for number in range(records):
        start(state, f"run-{number}")
    *whole, last = path_of(state).read_bytes().splitlines(keepends=True)
    torn = list(cuts(last))[index]
    path_of(state).write_bytes(b"".join(whole) + torn)
    if torn.endswith(b"\n"):
        with pytest.raises(HiveboxError, match="no crash leaves that"):
            start(state, "not-after-a-kill")
        assert path_of(state).read_bytes() == b"".join(whole) + torn
        after_a_reboot(state)
    appended = start(state, "after")
    assert appended.seq == len(whole) + 1
    assert rules_of(state) == ["recovered"]
    assert verdict_of(state).good
    recovered = list(history.entries(segments.file_lines(appended.path)))[len(whole)].record
    digest = hashlib.sha256(torn).hexdigest()
    assert recovered.predicate["dropped"] == {"bytes": len(torn), "kept_as": f"torn-{digest}", "sha256": digest}
    assert recovered.subjects == (("torn", digest),)
    assert (state / "audit" / f"torn-{digest}").read_bytes() == torn
    assert path_of(state).read_bytes().startswith(b"".join(whole))


def test_a_recovered_ledger_goes_on_as_before(state: Path) -> None:
    start(state, "a")
    with path_of(state).open("ab") as file:
        file.write(b'{"payload":')
    start(state, "b")
    assert start(state, "c").seq == 3
    assert rules_of(state) == ["recovered"]


@pytest.mark.parametrize("bad", range(1, 5))
def test_a_power_loss_may_take_any_of_the_lines_that_waited_for_one_sync(state: Path, bad: int) -> None:
    for number in range(5):
        start(state, f"run-{number}")
    lines = path_of(state).read_bytes().splitlines(keepends=True)
    lines[bad] = b"\0" * (len(lines[bad]) - 1) + b"\n"
    path_of(state).write_bytes(b"".join(lines))
    after_a_reboot(state)
    assert start(state, "after").seq == bad + 1
    assert rules_of(state) == ["recovered"]


def test_a_kill_in_the_middle_of_a_recovery_is_told_by_the_next_appender(state: Path) -> None:
    """Between cutting a torn end off and the record that says so, the state says it."""
    start(state, "a")
    with path_of(state).open("ab") as file:
        file.write(b'{"payload":')
    command = [sys.executable, "-c", KILLED_CUTTING, str(state)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert path_of(state).read_bytes().count(b"\n") == 1
    assert start(state, "b").seq == 2
    assert rules_of(state) == ["recovered"]


KILLED_CUTTING = """
import os, signal, sys
from hivebox.audit import ledger
ledger.Ledger._sign = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
ledger.Ledger(sys.argv[1]).append("started", "b", [], {})
"""

DIES = """
import sys
from hivebox.audit import supervisor
from hivebox.audit.ledger import Ledger
Ledger(sys.argv[1]).append("started", sys.argv[2], [], {"supervisor": supervisor.identify()})
"""


def events_of(state: Path) -> list[tuple[str, str]]:
    return [(e.record.event, e.record.run_id) for e in history.entries(segments.read_lines(str(state / "audit")))]


def test_a_run_whose_supervisor_died_is_ended_by_the_next_one(state: Path) -> None:
    me = supervisor.identify()
    start(state, "mine", supervisor=me)
    subprocess.run([sys.executable, "-c", DIES, str(state), "dead"], cwd=ROOT, check=True)
    start(state, "elsewhere", supervisor={**me, "starttime_ticks": 1, "pid_namespace": 1})
    assert events_of(state) == [("started", "mine"), ("started", "dead"), ("aborted", "dead"), ("started", "elsewhere")]
    Ledger(str(state)).append("finished", "mine", [], {})
    start(state, "next", supervisor=me)
    assert [event for event, _ in events_of(state)].count("aborted") == 1, "who cannot be seen from here is left alone"
    assert rules_of(state) == []
    assert [run.record.run_id for run in verdict_of(state).open_runs] == ["elsewhere", "next"]


OTHER_CLOCK = ["unshare", "--user", "--map-current-user", "--time", "--boottime", "100000", "--fork"]
LIVES = DIES + "print(flush=True); sys.stdin.read()"


def test_a_supervisor_with_another_clock_is_not_taken_for_dead(state: Path) -> None:
    """/proc counts start times by the reader's time namespace, so the one that the record gives is not what we see."""
    me = supervisor.identify()
    start(state, "mine", supervisor=me)
    command = [*OTHER_CLOCK, sys.executable, "-c", LIVES, str(state), "there"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as there:
        assert there.stdout and there.stdout.readline()
        start(state, "next", supervisor=me)
        assert events_of(state) == [("started", "mine"), ("started", "there"), ("started", "next")]
        running = [supervisor.is_running(run.record) for run in verdict_of(state).open_runs]
        assert running == [True, True, True]
        there.communicate()
    start(state, "last", supervisor=me)
    assert events_of(state)[3:] == [("aborted", "there"), ("started", "last")]


def test_after_a_reboot_every_run_of_before_is_ended(state: Path) -> None:
    there = statement.now()._replace(boot_id="before", boottime_ns=1)
    for number in range(20):
        Ledger(str(state), clock=lambda: there).append("started", f"r{number}", [], {"supervisor": {"pid": 1}})
    start(state, "one", supervisor=supervisor.identify())
    assert [event for event, _ in events_of(state)].count("aborted") == 20
    assert rules_of(state) == []


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"boot_id": "x"}'])
def test_the_state_is_rebuilt_from_the_ledger(state: Path, content: str | None) -> None:
    subprocess.run([sys.executable, "-c", DIES, str(state), "dead"], cwd=ROOT, check=True)
    (state / "audit" / "state").unlink() if content is None else (state / "audit" / "state").write_text(content)
    start(state, "next")
    assert [event for event, _ in events_of(state)] == ["started", "aborted", "started"]
    assert rules_of(state) == []


WRITER = """
import sys
from hivebox.audit.ledger import Ledger
ledger = Ledger(sys.argv[1])
ledger.prepare()
for number in range(10**6):
    appended = ledger.append("started", f"{sys.argv[2]}-{number}", [("script", "ab" * 32)], {"filler": "x" * 20000})
    print(appended.seq, appended.line_sha256, flush=True)
"""


def test_kill_9_at_any_moment_loses_nothing_that_was_acknowledged(state: Path) -> None:
    acknowledged: list[Head] = []
    pauses = random.Random(7)
    for attempt in range(8):
        command = [sys.executable, "-c", WRITER, str(state), f"w{attempt}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
            assert writer.stdout is not None
            first = writer.stdout.readline()
            time.sleep(pauses.random() * 0.03)
            writer.send_signal(signal.SIGKILL)
            lines = [line for line in [first, *writer.stdout] if line.endswith("\n")]
        assert lines
        acknowledged += [Head(int(line.split()[0]), line.split()[1]) for line in lines]
    start(state, "after")
    verdict = verdict_of(state, acknowledged[-1])
    assert [found for found in verdict.findings if found.severity == ERROR] == []
    digests = {Head(e.record.seq, e.sha256()) for e in history.entries(segments.read_lines(str(state / "audit")))}
    assert digests >= set(acknowledged)


# Full disks and failing ones

FILL = """
import resource, sys
from hivebox.audit.ledger import Ledger
from hivebox.errors import HiveboxError
ledger = Ledger(sys.argv[1])
if sys.argv[2] == "rlimit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
for number in range(200):
    try:
        last = ledger.append("started", f"run-{number}", [("script", "ab" * 32)], {"filler": "x" * 3000})
    except HiveboxError as error:
        print(error.exit_code, number, last.seq, last.line_sha256, str(error).replace(chr(10), " "))
        break
"""


def check_full(state: Path, printed: str, errno_name: str) -> None:
    code, number, seq, digest, message = printed.split(" ", 4)
    assert (code, seq) == ("125", str(int(number) - 1))
    assert errno_name in message
    assert str(path_of(state)) in message
    assert "make room" in message
    verdict = verdict_of(state, Head(int(seq), digest))
    assert verdict.records == int(number)
    assert [found.rule for found in verdict.findings if found.rule != "incomplete"] == []


def test_a_file_size_limit_loses_nothing(state: Path) -> None:
    command = [sys.executable, "-c", FILL, str(state), "rlimit"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    check_full(state, printed, "EFBIG")
    assert start(state, "room-again").seq == verdict_of(state).records - 1
    assert rules_of(state) == []


@needs_root
def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """A 128 KiB tmpfs in a mount namespace of its own; copied out to be verified before it is gone."""
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=128k,mode=700 tmpfs "$1" && "$2" -c "$3" "$1/state" disk && cp -a "$1" "$4"'
    command = ["unshare", "-m", "sh", "-ec", script, "sh", str(disk), sys.executable, FILL, str(copy)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    check_full(copy / "state", printed.replace(str(disk), str(copy)), "ENOSPC")
    assert list(disk.iterdir()) == []


FAIL = """
import errno, sys
import pyseccomp
from hivebox.audit.ledger import Ledger
from hivebox.errors import HiveboxError
ledger = Ledger(sys.argv[1])
ledger.append("started", "a", [("script", "ab" * 32)], {})
kernel = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
kernel.add_rule(pyseccomp.ERRNO(errno.EIO), sys.argv[2])
kernel.load()
try:
    ledger.append("finished", "a", [("script", "ab" * 32)], {})
except HiveboxError as error:
    print(str(error).replace(chr(10), " "))
"""


def test_a_record_is_on_the_disk_before_anyone_is_told(state: Path) -> None:
    """The kernel answers fdatasync with EIO: the append must have asked for it, and must not claim success."""
    command = [sys.executable, "-c", FAIL, str(state), "fdatasync"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "cannot write the audit record" in printed
    assert f"{path_of(state)}: input/output error (EIO)" in printed
    assert verdict_of(state).records == 1
    assert rules_of(state) == []


def test_the_first_record_is_durable_with_the_name_of_the_ledger(state: Path) -> None:
    """Only the directory is synced by fsync here; that it fails must fail the append."""
    start(state, "a")
    path_of(state).unlink()
    script = FAIL.replace('ledger.append("started", "a", [("script", "ab" * 32)], {})', "ledger.prepare()")
    command = [sys.executable, "-c", script, str(state), "fsync"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "EIO" in printed
    assert path_of(state).read_bytes() == b""


# Several writers


def append_several(state: str, name: str, count: int) -> list[tuple[int, str]]:
    ledger = Ledger(state)
    return [ledger.append("started", f"{name}-{n}", SUBJECTS, {})[:2] for n in range(count)]


def test_twenty_processes_write_one_chain(state: Path) -> None:
    with SPAWN.Pool(20) as pool:
        written = pool.starmap(append_several, [(str(state), f"w{n}", 5) for n in range(20)], chunksize=1)
    heads = sorted(head for part in written for head in part)
    assert [seq for seq, _ in heads] == list(range(100))
    verdict = verdict_of(state, Head(*heads[-1]))
    assert (verdict.records, verdict.runs, verdict.good) == (100, 100, True)
    assert rules_of(state) == []
    assert files_of(state) == ["commit", "ledger.jsonl", "state"]


def test_twenty_threads_write_one_chain(state: Path) -> None:
    threads = [threading.Thread(target=append_several, args=(str(state), f"t{n}", 3)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdict_of(state).records == 60
    assert rules_of(state) == []


def test_a_lock_that_is_never_released_ends_in_an_error(state: Path) -> None:
    start(state, "a")
    with path_of(state).open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        began = time.monotonic()
        with pytest.raises(HiveboxError, match="has held its lock"):
            Ledger(str(state), lock_timeout_s=0.2).append("started", "b", SUBJECTS, {})
        assert 0.2 <= time.monotonic() - began < 5
    assert start(state, "b").seq == 1


@pytest.mark.parametrize("removed", [True, False])
def test_a_ledger_moved_away_while_waiting_gets_no_lost_record(state: Path, removed: bool) -> None:
    start(state, "a")
    appended: list[Appended] = []
    with path_of(state).open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        writer = threading.Thread(target=lambda: appended.append(start(state, "b")))
        writer.start()
        time.sleep(0.3)
        path_of(state).rename(state / "audit" / "moved.jsonl")
        if not removed:
            path_of(state).touch(0o600)
    writer.join()
    assert [a.seq for a in appended] == [0]
    assert verdict_of(state).records == 1


def test_reading_does_not_wait_for_a_writer_longer_than_it_must(state: Path) -> None:
    start(state, "a")
    lines = segments.read_lines(str(state / "audit"))
    first = next(lines)
    start(state, "b")  # the reader holds no lock between two lines
    assert list(lines) == []  # and sees what was there when it began
    assert json.loads(first)["payloadType"] == "application/vnd.in-toto+json"


def test_a_descriptor_of_the_ledger_does_not_survive_exec_or_append(state: Path) -> None:
    before = os.listdir("/proc/self/fd")
    start(state, "a")
    with pytest.raises(HiveboxError):
        start(state, "")
    assert os.listdir("/proc/self/fd") == before


def test_the_soft_limit_of_files_is_an_error_not_a_loss(state: Path) -> None:
    start(state, "a")
    was = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 3, was[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                opened.append(os.open("/dev/null", os.O_RDONLY))
        with pytest.raises(HiveboxError, match="EMFILE"):
            start(state, "b")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, was)
        for fd in opened:
            os.close(fd)
    assert start(state, "b").seq == 1


def test_many_records_by_one_sync(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    fdatasync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(fdatasync(fd)))
    runs = [draft("started", f"r{number}", [], {}) for number in range(3)]
    appended = Ledger(str(state)).append_all([*runs, draft("finished", "r1", [], {})])
    assert [where.seq for where in appended] == [0, 1, 2, 3]
    assert len(synced) == 1
    assert rules_of(state) == []
    lines = list(segments.read_lines(str(state / "audit")))
    assert [where.line_sha256 for where in appended] == [hashlib.sha256(line[:-1]).hexdigest() for line in lines]


def test_a_record_that_is_too_long_is_refused_before_it_waits_with_others() -> None:
    with pytest.raises(HiveboxError, match="the ledger takes 16777215"):
        draft("finished", "greedy", [], {"big": "x" * (12 << 20)})
