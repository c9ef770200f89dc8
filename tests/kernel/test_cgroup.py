"""The groups themselves: what is written into them, what a killed hivebox leaves, and who removes it."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hivebox.kernel import cgroup
from hivebox.kernel.cgroup import Cgroup, GroupLimits, IoLimits
from hivebox.kernel.cgroup.reap import reap
from hivebox.kernel.pid import start_time
from tests.harness import leftovers, no_cgroup, sandboxes
from tests.kernel.conftest import HAS_V1, Transform

MIB = 1 << 20
# A slow machine kills as often as it can, unless `make test-many` asks for all of them.
KILLS, KILLS_S = 200, 3600.0 if os.environ.get("HIVEBOX_LONG_STRESS") else 120.0
# Each is two processes of Python: a small machine has no room for as many.
MANY = 200 if os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") > 4 << 30 else 20


@contextmanager
def member(group: Cgroup) -> Iterator[int]:
    """A process that has joined, as the payload does."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()  # so that the end of the parent is the end of what we wait for
        handles = socket.recv_fds(theirs, 1, 8)[1]
        for handle in handles:
            os.write(handle, b"0")
        theirs.send(b"joined")
        while theirs.recv(1):
            pass
        os._exit(0)
    theirs.close()
    try:
        group.attach(pid)
        socket.send_fds(ours, [b"j"], list(group.join_fds))
        assert ours.recv(6) == b"joined"
        yield pid
    finally:
        ours.close()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        group.close()


def made(grouped: Transform, limits: GroupLimits) -> Cgroup:
    class Plan:
        class cgroup:  # noqa: N801  # as the plan's attribute
            ways: tuple[str, ...] = ()

    grouped(Plan)  # type: ignore[arg-type,type-var]
    return cgroup.make("test", limits, Plan.cgroup.ways)


def words(path: str) -> str:
    return Path(path).read_text().strip()


@pytest.mark.skipif(HAS_V1, reason="this host has no cgroup v2 controllers")
def test_what_is_written_into_a_v2_group(grouped: Transform) -> None:
    group = made(grouped, GroupLimits(64 * MIB, 7, 0.25))
    with member(group) as pid:
        assert words(f"{group.place}/memory.max") == str(64 * MIB)
        assert words(f"{group.place}/memory.swap.max") == "0"
        assert words(f"{group.place}/pids.max") == "7"
        assert words(f"{group.place}/cpu.max") == "25000 100000"
        assert words(f"{group.place}/cgroup.procs") == str(pid)


@pytest.mark.skipif(not HAS_V1, reason="this host has no cgroup v1 hierarchies")
def test_what_is_written_into_the_v1_groups(grouped: Transform) -> None:
    devices = ("254:0",) if os.path.exists("/sys/dev/block/254:0") else ()
    group = made(grouped, GroupLimits(64 * MIB, 7, 0.25, IoLimits(4096, 8192, 3, 4, devices)))
    with member(group):
        memory = group.place
        assert words(f"{memory}/memory.limit_in_bytes") == str(64 * MIB)
        if os.path.exists(f"{memory}/memory.memsw.limit_in_bytes"):
            assert words(f"{memory}/memory.memsw.limit_in_bytes") == str(64 * MIB)
        else:
            assert words(f"{memory}/memory.swappiness") == "0"
        places = {
            name: next(Path("/sys/fs/cgroup", name).rglob(os.path.basename(memory)))
            for name in ("pids", "cpu", "blkio")
        }
        assert words(f"{places['pids']}/pids.max") == "7"
        assert words(f"{places['cpu']}/cpu.cfs_quota_us") == "25000"
        for name, rate in (("read_bps", 4096), ("write_bps", 8192), ("read_iops", 3), ("write_iops", 4)):
            shown = words(f"{places['blkio']}/blkio.throttle.{name}_device")
            assert shown == "".join(f"{device} {rate}" for device in devices)


def test_the_end_of_a_group_waits_for_a_dying_process(grouped: Transform) -> None:
    group = made(grouped, GroupLimits(64 * MIB, 7))
    with member(group) as pid:
        place = group.place
        os.kill(pid, signal.SIGKILL)
    assert not os.path.exists(place)


@pytest.mark.skipif(HAS_V1, reason="this host has no cgroup v2 controllers")
@pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user")
class TestOwnScope:
    """In a unit with ``Delegate=yes`` of the user's systemd, marked as such."""

    def run(self, before: str) -> dict[str, str]:
        if no_cgroup(("systemd",)):
            pytest.skip("needs a user's own systemd")
        mark = "import os, sys; os.setxattr(sys.argv[1], 'user.delegate', b'1')"
        script = (
            "group=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup); "
            f'{sys.executable} -c "{mark}" $group; {before} exec {sys.executable} -m hivebox run --report - -- true'
        )
        command = ["systemd-run", "--user", "--scope", "--quiet", "-p", "Delegate=yes", "sh", "-c", script]
        printed = subprocess.run(command, capture_output=True, timeout=120, check=True).stdout
        facts: dict[str, str] = json.loads(printed)["controls"]["cgroup"]
        return facts

    def test_alone_in_its_group_hivebox_moves_itself_into_a_leaf(self) -> None:
        facts = self.run("")
        assert facts["backend"] == "cgroup-v2"
        assert ".scope/hivebox." in facts["group"]

    def test_it_moves_nobody_else(self) -> None:
        facts = self.run("sleep 3 & ")
        assert facts["backend"] == "systemd"
        assert "only ours may be moved" in facts["passed_over"]["v2"]  # type: ignore[index]


# -- what a killed hivebox leaves ------------------------------------------------------------------------------------


def abandoned(parent: str, change: str = "") -> str:
    """A group whose supervisor has died. ``change`` makes a lie of its name."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = f"hivebox.{process.pid}.{start_time(process.pid)}.{cgroup.made_in()}.test"
    process.communicate()
    path = f"{parent}/{change.format(name=name, namespace=cgroup.made_in()) if change else name}"
    os.mkdir(path)
    return path


@pytest.fixture
def parent(request: pytest.FixtureRequest) -> Iterator[str]:
    """A group in which this process may make others."""
    for way in ("v1", "v2"):
        try:
            group = cgroup.make("parent", GroupLimits(64 * MIB, 100), (way,))
        except Exception:  # the other way, then
            continue
        path = f"{os.path.dirname(group.place)}/hivebox-test-{os.getpid()}"
        group.close()
        os.mkdir(path)
        yield path
        for directory, _, _ in os.walk(path, topdown=False):
            cgroup.remove(directory)
        return
    pytest.skip("needs root or delegated control groups")


def test_the_reaper_removes_what_a_dead_supervisor_left(parent: str) -> None:
    path = abandoned(parent)
    reap(parent)
    assert not os.path.exists(path)


def test_the_reaper_kills_what_is_still_in_it_nested_groups_included(parent: str) -> None:
    path = abandoned(parent)
    os.mkdir(f"{path}/nested")
    process = subprocess.Popen(["sleep", "60.125"])
    cgroup.write(f"{path}/nested/cgroup.procs", str(process.pid))
    if not os.path.exists(f"{path}/cgroup.kill"):
        cgroup.write(f"{path}/cgroup.procs", str(process.pid))  # of v1 we make no nested ones
    reap(parent)
    assert process.wait(timeout=5) == -signal.SIGKILL
    assert not os.path.exists(path)


def test_the_reaper_lets_a_live_supervisors_group_be(parent: str) -> None:
    path = f"{parent}/{cgroup.group_name('test')}"
    os.mkdir(path)
    reap(parent)
    assert os.path.exists(path)


@pytest.mark.parametrize(
    "lie",
    [
        "hivebox.\u00b2.1.{namespace}.test",  # a digit to Python, not a number
        "hivebox.1.x",
        "hivebox.99999999999999999999999999.1.{namespace}.test",
        "hivebox.{name}",
        "x{name}",
        "{name}.more",
        "hivebox.-1.0.0.test",
    ],
)
def test_the_reaper_does_not_touch_a_name_that_hivebox_does_not_give(parent: str, lie: str) -> None:
    path = abandoned(parent, lie)
    reap(parent)
    assert os.path.exists(path)


def test_the_reaper_does_not_judge_pids_of_another_namespace(parent: str) -> None:
    path = f"{parent}/hivebox.4194303.1.{cgroup.made_in()}1.test"
    os.mkdir(path)
    reap(parent)
    assert os.path.exists(path)


def _elsewhere(parent: str, pid_namespace: int, age_s: float) -> str:
    """A group of a supervisor in that PID namespace, which one cannot ask whether it lives."""
    path = f"{parent}/hivebox.2.1.{pid_namespace}-{cgroup.made_in().partition('-')[2]}.test"
    os.mkdir(path)
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_the_reaper_removes_empty_groups_of_a_namespace_that_is_gone(parent: str) -> None:
    path = _elsewhere(parent, 1, 600)
    reap(parent)
    assert not os.path.exists(path)


def test_the_reaper_lets_a_new_group_of_an_unseen_namespace_be(parent: str) -> None:
    path = _elsewhere(parent, 1, 60)
    reap(parent)
    assert os.path.exists(path)


def test_the_reaper_kills_nobody_of_another_namespace(parent: str) -> None:
    path = _elsewhere(parent, 1, 600)
    with subprocess.Popen(["sleep", "60"]) as process:
        cgroup.write(f"{path}/cgroup.procs", str(process.pid))
        reap(parent)
        assert os.path.exists(path) and process.poll() is None
        process.kill()


@pytest.mark.root
def test_the_reaper_lets_the_groups_of_a_namespace_that_lives_be(parent: str) -> None:
    """A container's hivebox: its payload has ended, and it is about to read what was used."""
    with subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "sleep", "60"]) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not children.read_text():
            time.sleep(0.01)
        child = children.read_text().split()[0]
        path = _elsewhere(parent, os.stat(f"/proc/{child}/ns/pid").st_ino, 600)
        reap(parent)
        process.kill()
    assert os.path.exists(path)


@pytest.mark.root
@pytest.mark.parametrize(
    "elsewhere",
    [
        ("--time", "--boottime", "100000"),  # /proc shifts every start time
        ("--pid", "--fork"),  # /proc stays that of the outer PID namespace
    ],
)
def test_the_reaper_does_not_judge_from_another_namespace(parent: str, elsewhere: tuple[str, ...]) -> None:
    path = f"{parent}/{cgroup.group_name('test')}"
    os.mkdir(path)
    script = "import sys; from hivebox.kernel.cgroup.reap import reap; reap(sys.argv[1])"
    subprocess.run(["unshare", *elsewhere, sys.executable, "-c", script, parent], check=True)
    assert os.path.exists(path)


@pytest.mark.root
def test_a_group_made_under_a_foreign_proc_is_never_judged() -> None:
    """There /proc/PID/stat is of another process, which may end while the supervisor lives."""
    script = "from hivebox.kernel import cgroup; print(cgroup.group_name('test'))"
    command = ["unshare", "--pid", "--fork", sys.executable, "-c", script]
    name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert name.startswith("hivebox.1.")
    assert name.endswith("..test")


@pytest.mark.root
def test_the_reaper_does_not_touch_another_users_group(parent: str) -> None:
    path = abandoned(parent)
    os.chown(path, 65534, 65534)
    reap(parent)
    assert os.path.exists(path)


def test_a_reused_pid_is_another_supervisor(parent: str) -> None:
    pid = os.getpid()
    path = f"{parent}/hivebox.{pid}.{int(start_time(pid)) - 1}.{cgroup.made_in()}.test"
    os.mkdir(path)
    reap(parent)
    assert not os.path.exists(path)


# -- many ------------------------------------------------------------------------------------------------------------


def _left_by(pids: list[int]) -> list[str]:
    marks = [mark for pid in pids for mark in (f"hivebox.{pid}.", f"hivebox-{pid}-")]
    return [line for line in leftovers() if any(mark in line for mark in marks)]


def test_kill_9_at_random_moments_leaves_nothing(hivebox, hivebox_pipe) -> None:
    """At moments from before the first system call to after the last. The kernel ends the sandbox at once; the group
    of an earlier one is removed by the next hivebox, that of a scope by systemd."""
    begin = time.monotonic()
    assert hivebox("run", "--", "true").returncode == 0
    assert hivebox("run", "--", "true").returncode == 0
    whole_s = (time.monotonic() - begin) / 2
    pids = []
    while len(pids) < KILLS and time.monotonic() - begin < KILLS_S:
        process = hivebox_pipe("--", "sleep", "0.05625")
        time.sleep(random.uniform(0.0, 1.2 * whole_s))
        process.kill()
        process.wait()
        pids.append(process.pid)
    assert len(pids) >= 5
    deadline = time.monotonic() + 20
    while sandboxes("0.05625") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert hivebox("run", "--", "true").returncode == 0
    while _left_by(pids) and time.monotonic() < deadline:
        time.sleep(0.05)  # systemd's turn
    assert not _left_by(pids)


def test_many_at_once_all_finish_and_none_is_misreported(hivebox, hivebox_pipe) -> None:
    assert hivebox("run", "--", "true").returncode == 0
    options = ("--report", "-", "--timeout", "10m", "--cpu-time", "10m", "--memory", "64M")
    runs = [hivebox_pipe(*options, "--", "sleep", "1") for _ in range(MANY)]
    said = [process.communicate(timeout=900) for process in runs]
    assert not [errors for _, errors in said if errors]
    reports = [json.loads(report) for report, _ in said]
    assert {(report["outcome"], report["exit_code"]) for report in reports} == {("ok", 0)}
    assert len({report["run_id"] for report in reports}) == MANY
    for report in reports:
        assert 0 < report["memory_peak_bytes"] <= 64 * MIB
        assert report["pids_peak"] == 1
        assert report["wall_s"] >= 1
    assert not _left_by([process.pid for process in runs])
