"""Real guests: what comes back from them, and what happens when one, or its runner, does not end as it should."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

RUN = Path(__file__).parents[2] / "scripts" / "vm" / "run"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([RUN, "--guest", "bookworm", *words], check=False, capture_output=True, text=True)


def machines(marker: str) -> list[str]:
    found = subprocess.run(
        ["pgrep", "-f", f"^qemu-system-x86_64 .*{marker}"], check=False, capture_output=True, text=True
    )
    return found.stdout.split()


def test_an_ordinary_user_with_all_controllers(tmp_path: Path) -> None:
    script = (
        'id -u; cat "/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/../cgroup.controllers"; test ! -e /sys/class/net/eth0; echo $?;'
        ' echo kept >"$HIVEBOX_RESULTS/file"; exit 7'
    )
    ended = run("--results", str(tmp_path), "--", "sh", "-c", script)
    assert (ended.returncode, ended.stdout) == (7, "1000\ncpuset cpu io memory pids\n0\n"), ended.stderr
    assert (tmp_path / "file").read_text() == "kept\n"


def test_two_at_once_do_not_meet_and_one_without_a_result_is_tried_twice() -> None:
    """The second guest has no working init. The first has what Debian delegates, a kernel parameter and a sysctl."""
    with subprocess.Popen(
        [RUN, "--guest", "bookworm", "--append", "init=/bin/false", "--", "true"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as broken:  # fmt: skip
        script = 'cat "/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/../cgroup.controllers" /proc/sys/user/max_user_namespaces'
        options = ("--stock-delegation", "--append", "cgroup_disable=memory", "--sysctl", "user.max_user_namespaces=0")
        ended = run(*options, "--", "sh", "-c", script)
        errors = broken.communicate()[1]
    assert (ended.returncode, ended.stdout) == (0, "cpu pids\n0\n"), ended.stderr
    assert broken.returncode == 125
    assert errors.count("bookworm (tcg) gave no result") == 2
    assert "Kernel panic" in errors


def test_a_machine_dies_with_its_runner() -> None:
    marker = f"hivebox.test={os.getpid()}"
    command = [RUN, "--guest", "bookworm", "--append", marker, "--", "sleep", "600"]
    runner = subprocess.Popen(command, env={**os.environ, "HIVEBOX_VM_ACCEL": "tcg"})  # a KVM guest may die by itself
    deadline = time.monotonic() + 120
    while not machines(marker):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    while machines(marker):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_command_that_hangs_is_stopped() -> None:
    assert run("--timeout", "1", "--", "sleep", "600").returncode == 124
