"""stdin, stdout, stderr: byte for byte, bounded, never the caller's own descriptors."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hivebox.kernel.pid import start_time
from hivebox.policy.model import Syscalls
from hivebox.supervise.output import Budget, Pump
from tests.harness import LIMITS, PLAIN_GROUPS, Runner, policy, slack_s, wait_for

BLOB = bytes(range(256)) * 1024


def test_binary_output_passes_unchanged(runner: Runner) -> None:
    report = runner.command("/usr/bin/python3", "-c", "import os; os.write(1, bytes(range(256)) * 1024)")
    assert report.stdout == BLOB
    assert report.ending.stdout_bytes == len(BLOB)


def test_stdout_and_stderr_stay_apart(runner: Runner) -> None:
    report = runner.command("sh", "-c", "echo out; echo err >&2")
    assert (report.stdout, report.stderr) == (b"out\n", b"err\n")


def test_stdin_is_empty_by_default(runner: Runner) -> None:
    assert runner.command("cat").stdout == b""


def test_stdin_is_fed_whole(runner: Runner) -> None:
    read_fd, write_fd = os.pipe()

    def write() -> None:
        with os.fdopen(write_fd, "wb") as pipe:
            pipe.write(BLOB)

    writer = threading.Thread(target=write)
    writer.start()
    report = runner.command("cat", stdin_fd=read_fd)
    writer.join()
    os.close(read_fd)
    assert report.stdout == BLOB


def test_stdin_from_a_file(runner: Runner, tmp_path) -> None:
    (tmp_path / "input").write_bytes(BLOB)
    handle = os.open(tmp_path / "input", os.O_RDONLY)
    report = runner.command("cat", stdin_fd=handle)
    os.close(handle)
    assert report.stdout == BLOB


def test_a_program_that_ignores_its_stdin_ends_all_the_same(runner: Runner) -> None:
    handle = os.open("/dev/zero", os.O_RDONLY)
    report = runner.command("true", stdin_fd=handle)
    os.close(handle)
    assert report.outcome == "ok"


def test_the_streams_are_pipes_or_null(runner: Runner) -> None:
    report = runner.command("sh", "-c", "readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2")
    stdin, stdout, stderr = report.stdout.decode().split()
    assert stdin == "/dev/null"
    assert stdout.startswith("pipe:")
    assert stderr.startswith("pipe:")


def test_output_stops_at_the_limit(runner: Runner) -> None:
    limits = LIMITS._replace(output_size_bytes=100_000)
    report = runner.command("sh", "-c", "yes & yes >&2 & wait", policy=policy(limits=limits))
    assert report.outcome == "output"
    assert report.ending.cause.control == "output_size"
    assert len(report.stdout) + len(report.stderr) == 100_000


def test_a_slow_reader_does_not_stop_the_clock(hivebox, hivebox_pipe) -> None:
    """Nobody reads our stdout: the wall limit must fire all the same."""
    assert hivebox("run", "--", "true").returncode == 0  # the root is built
    started = time.monotonic()
    code = "import time\nprint('x' * 1_000_000, flush=True)\ntime.sleep(60)"
    process = hivebox_pipe("--timeout", f"{1 + slack_s()}s", "--", "python3", "-c", code)
    time.sleep(2.5 + 2 * slack_s())
    output = process.stdout.read()
    process.wait(timeout=10 + slack_s())
    assert process.returncode == 124, process.stderr.read()
    assert output
    assert time.monotonic() - started < 9 + 5 * slack_s()


def test_a_reader_that_goes_away_ends_the_run(hivebox_pipe) -> None:
    process = hivebox_pipe("--timeout", "20s", "--", "/usr/bin/python3", "-c", "while True: print('x' * 1000)")
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(timeout=10 + slack_s()) != 0


def test_a_pump_never_blocks_on_a_full_pipe() -> None:
    """One page is free, and there are five to write."""
    source, feed = os.pipe()
    drain, sink = os.pipe()
    os.set_blocking(sink, False)
    while True:
        try:
            os.write(sink, bytes(4096))
        except BlockingIOError:
            break
    os.set_blocking(sink, True)
    os.read(drain, 4096)
    pump = Pump(source, sink, Budget(1 << 20))
    os.write(feed, bytes(20_000))
    pump.on_readable()
    assert pump.wants_write()
    done = threading.Event()
    threading.Thread(target=lambda: (pump.on_writable(), done.set()), daemon=True).start()
    assert done.wait(5), "the write blocked"
    for handle in (feed, drain, sink):
        os.close(handle)
    pump.close()


def test_a_descriptor_above_a_lowered_limit_is_not_inherited(hivebox, scratch: Path) -> None:
    """The caller's directory, opened before its limit of open files went down."""
    directory_fd = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY)
    os.dup2(directory_fd, 900, inheritable=True)
    code = "import os; print(sorted(os.listdir('/proc/self/fd'), key=int))"

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    try:
        shown = subprocess.run(
            [sys.executable, "-c", code], pass_fds=(900,), preexec_fn=lower, capture_output=True, check=True
        ).stdout
        assert b"'900'" in shown, "it is there without a sandbox"
        done = hivebox("run", "--", "python3", "-c", code, pass_fds=(900,), preexec_fn=lower)
    finally:
        os.close(900)
        os.close(directory_fd)
    assert done.stdout == b"['0', '1', '2', '3']\n", done.stderr  # 3 is the listing itself


def test_few_open_files_are_enough_or_the_error_says_so(hivebox) -> None:
    def limit(soft: int, hard: int) -> Callable[[], None]:
        return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert hivebox("run", "--", "true", preexec_fn=limit(64, 4096)).returncode == 0
    refused = hivebox("run", "--", "true", preexec_fn=limit(64, 900))
    assert (refused.returncode, b"may open 900 files" in refused.stderr) == (125, True), refused.stderr


# A byte is taken back between the supervisor's poll and its read. Whether that then waits is seen by a byte on stderr
# that nobody fetches; from there on nothing is written.
TAKES_BACK = """
import fcntl, os, random, struct, time
own, error = (os.open(f'/proc/self/fd/{n}', os.O_RDONLY | os.O_NONBLOCK) for n in (1, 2))
waits = lambda: struct.unpack('i', fcntl.ioctl(error, 0x541B, bytes(4)))[0]
while True:
    os.write(1, b'x')
    until = time.perf_counter_ns() + random.randrange(10_000, 160_000)
    while time.perf_counter_ns() < until: pass
    try: os.read(own, 1)
    except BlockingIOError: continue
    os.write(2, b'.')
    time.sleep(0.012)
    if waits():
        time.sleep(0.3)
        if waits(): time.sleep(1000)
"""


@pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user: root's pipes are not the script's to open")
def test_a_script_that_reads_its_own_output_back_cannot_stop_the_clock(runner: Runner) -> None:
    """A pipe can be opened again through /proc, and what polled readable is gone when it is read."""
    groups = (*PLAIN_GROUPS, "@process")
    limits = LIMITS._replace(wall_time_s=10 + slack_s(), cpu_time_s=60)
    began = time.monotonic()
    report = runner.command(
        "/usr/bin/python3", "-c", TAKES_BACK, policy=policy(limits=limits, syscalls=Syscalls(groups=groups))
    )
    assert report.outcome == "timeout"
    assert time.monotonic() - began < 10 + 2 * slack_s() + 4, "init's own clock would end it five seconds later"


def test_a_terminal_that_takes_nothing_does_not_stop_the_clock(hivebox_pipe) -> None:
    """As after Control-S: it polls writable while there is room for less than a piece."""
    master, terminal = os.openpty()
    code = "import os\nwhile True: os.write(1, b'\\n' * 4096)"
    limit = 2 + slack_s()
    process = hivebox_pipe("--timeout", f"{limit}s", "--", "python3", "-c", code, stdout=terminal)
    try:
        assert wait_for(lambda: sandboxes_of(process.pid), 15 + slack_s())
        grace = 4 + slack_s()  # init's own clock would end it five seconds later
        assert wait_for(lambda: not sandboxes_of(process.pid), limit + grace)
        assert process.poll() is None, "it waits for its reader, as before"
    finally:
        os.close(master)
        os.close(terminal)
    assert process.wait(30) == 124


def sandboxes_of(pid: int) -> list[str]:
    """The live children of this hivebox."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [child for child in children if start_time(int(child))]


def test_a_stream_that_cannot_be_passed_on_is_a_failure(hivebox) -> None:
    with open("/dev/full", "w") as full:
        done = hivebox(
            "run", "--", "python3", "-c", "print(1)", stdout=full, capture_output=False, stderr=subprocess.PIPE
        )
    assert done.returncode == 125
    assert b"lost: cannot pass its output on" in done.stderr


def test_a_failure_to_say_why_in_few_words(hivebox) -> None:
    """More than a pipe takes: nobody reads it before the sandbox is ready."""
    began = time.monotonic()
    done = hivebox("run", "--", "a" * 100_000)
    assert done.returncode == 127
    assert time.monotonic() - began < 20 + slack_s()


def test_what_is_in_a_pipe_that_somebody_else_holds_is_the_rest() -> None:
    """Once nobody in the sandbox lives: whoever was handed its stdout must not keep the run from ending."""
    source, held = os.pipe()
    pump = Pump(source, None, Budget(1 << 20))
    os.write(held, b"the rest")
    pump.drain()
    pump.drain()
    assert not pump.open
    assert bytes(pump.kept) == b"the rest"
    os.close(held)
