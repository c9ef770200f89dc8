"""Nothing survives: orphans, sessions, stopped trees, and the supervisor's own death at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from hivebox.audit.ledger import Ledger
from hivebox.locations import state_dir
from hivebox.plan.plan import Plan
from tests.harness import LIMITS, Runner, leftovers, policy, sandboxes, slack_s, wait_for

# Ticks into a file that the test can see (through --rw): the proof that something still runs.
TICKER = "import os, sys, time\nwhile True:\n open(sys.argv[1], 'a').write('.'); time.sleep(0.02)"


def is_still(path: Path) -> bool:
    """Whether it stops growing within seconds: on a busy machine the last tick may come after the signal."""
    deadline = time.monotonic() + 3 + slack_s()
    while time.monotonic() < deadline:
        before = path.stat().st_size
        time.sleep(0.3)
        if path.stat().st_size == before:
            return True
    return False


def test_orphans_die_with_the_script(runner: Runner) -> None:
    report = runner.command("sh", "-c", "(setsid sleep 60 &) ; (sleep 60 & sleep 60 &) & echo started")
    assert report.outcome == "ok"
    assert report.stdout == b"started\n"
    assert report.ending.wall_s < 5


def test_a_stopped_tree_is_killed(runner: Runner) -> None:
    limits = LIMITS._replace(wall_time_s=0.5)
    report = runner.command("sh", "-c", "sleep 60 & kill -STOP $! $$", policy=policy(limits=limits))
    assert report.outcome == "timeout"


def test_a_daemon_cannot_outlive_its_run(hivebox) -> None:
    code = (
        "# daemon-that-wants-to-stay\n"
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        [os.close(n) for n in range(3)]\n"
        "        time.sleep(60)\n"
        "    os._exit(0)\n"
        "os.wait()"
    )
    assert hivebox("run", "-p", "python", "--", "python3", "-c", code).returncode == 0
    assert not sandboxes("daemon-that-wants-to-stay")


@pytest.fixture
def ticking(hivebox_pipe, scratch: Path):
    """A sandbox that ticks; (supervisor process, file)."""
    shared = scratch / "shared"
    shared.mkdir()
    if os.geteuid() == 0:
        os.chown(shared, 65534, 65534)
    ticks = shared / "ticks"

    def start(*options: str) -> tuple[subprocess.Popen[bytes], Path]:
        process = hivebox_pipe(*options, "--rw", f"{shared}:/shared", "--", "python3", "-c", TICKER, "/shared/ticks")
        assert wait_for(lambda: ticks.exists() and ticks.stat().st_size > 2, 60 + 10 * slack_s()), "it never started"
        return process, ticks

    return start


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_hivebox_ends_the_run(ticking, number: signal.Signals) -> None:
    process, ticks = ticking()
    process.send_signal(number)
    assert process.wait(timeout=10 + slack_s()) == 128 + number
    assert is_still(ticks)
    assert number.name.encode() in process.stderr.read()


def test_a_script_that_ignores_the_signal_is_killed(hivebox_pipe) -> None:
    code = "import signal, time\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(60)"
    process = hivebox_pipe("--", "python3", "-c", code)
    assert process.stdout.readline() == b"up\n"
    process.terminate()
    assert process.wait(timeout=10 + slack_s()) == 128 + signal.SIGTERM


def test_the_script_may_end_by_itself_after_a_signal(hivebox_pipe) -> None:
    code = (
        "import os, signal, sys, time\n"
        "signal.signal(15, lambda *_: (os.write(1, b'bye\\n'), sys.exit(3)))\n"
        "print('up', flush=True)\ntime.sleep(60)"
    )
    process = hivebox_pipe("--", "python3", "-c", code)
    assert process.stdout.readline() == b"up\n"
    process.terminate()
    assert process.wait(timeout=10 + slack_s()) == 3
    assert process.stdout.read() == b"bye\n"


def test_kill_9_of_hivebox_leaves_nothing_running(ticking, hivebox) -> None:
    process, ticks = ticking()
    process.kill()
    process.wait()
    assert is_still(ticks)
    assert hivebox("run", "--", "true").returncode == 0, "the next run also removes the dead one's control group"
    mine = f"hivebox.{process.pid}."
    assert wait_for(lambda: not [line for line in leftovers() if mine in line])


def test_kill_9_at_random_moments(hivebox_pipe, hivebox) -> None:
    hivebox("run", "--", "true")
    pids = []
    for _ in range(12):
        process = hivebox_pipe("--", "sleep", "60.25")
        time.sleep(random.uniform(0.0, 0.15))
        process.kill()
        process.wait()
        pids.append(process.pid)
    assert wait_for(lambda: not sandboxes("60.25"))
    assert hivebox("run", "--", "true").returncode == 0
    assert not [line for line in leftovers() for pid in pids if f"hivebox.{pid}." in line]


def test_the_clock_begins_with_the_program(runner: Runner) -> None:
    """A sandbox that is slow to set up has not used up its time: neither the supervisor's clock runs, nor init's."""

    def slow(plan: Plan) -> Plan:
        set_up = plan.workdir.set_up
        plan.workdir.set_up = lambda: (time.sleep(7), set_up())[1]  # type: ignore[method-assign]
        return plan

    limits = LIMITS._replace(wall_time_s=1 + slack_s())
    assert runner.command("true", policy=policy(limits=limits), transform=slow).outcome == "ok"


def test_a_stopped_supervisor_does_not_stop_the_clock(ticking) -> None:
    """Init keeps a second clock (its grace is five seconds)."""
    process, ticks = ticking("--timeout", "1s")
    process.send_signal(signal.SIGSTOP)
    try:
        assert wait_for(lambda: is_still(ticks), 15 + 3 * slack_s())
    finally:
        process.send_signal(signal.SIGCONT)
    assert process.wait(timeout=10 + slack_s()) in {124, 137}


def test_killing_init_from_inside_is_not_possible(runner: Runner) -> None:
    code = "import os, signal\nfor n in (1, 2, 9, 15, 19, 11): os.kill(1, n)\nprint('alive')"
    report = runner.command("/usr/bin/python3", "-c", code)
    assert report.outcome in {"ok", "failed"}
    assert report.ending.signal is None


def test_twenty_runs_from_twenty_processes_write_twenty_verified_records(hivebox, hivebox_pipe) -> None:
    assert hivebox("run", "--", "true").returncode == 0  # the root is built
    runs = [hivebox_pipe("--report", "-", "--", "true") for _ in range(20)]
    streams = [process.communicate(timeout=100 + 10 * slack_s()) for process in runs]
    assert [process.returncode for process in runs] == [0] * 20, [stderr for _, stderr in streams]
    reports = [json.loads(stdout) for stdout, _ in streams]
    assert {report["outcome"] for report in reports} == {"ok"}
    assert len({report["audit"]["seq"] for report in reports}) == 20
    verified = hivebox("audit", "verify", "--json")
    assert verified.returncode == 0, verified.stdout


def test_a_run_whose_record_cannot_be_written_does_not_start(
    runner: Runner, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hivebox.errors import HiveboxError

    monkeypatch.setenv("HIVEBOX_STATE", str(scratch / "state"))
    Ledger(state_dir()).append("started", "x", [], {})
    ledger = scratch / "state" / "audit" / "ledger.jsonl"
    ledger.chmod(0o666)  # somebody else could write it: no record is better than a worthless one
    marker = scratch / "ran"
    with pytest.raises(HiveboxError):
        runner.command("touch", str(marker))
    assert not marker.exists()
