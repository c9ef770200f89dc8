"""`hivebox doctor` on hosts that lack something (docs/install.md), and `hivebox run` on the same ones."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hivebox.doctor.examine import CHECKS
from hivebox.kernel import process
from hivebox.kernel.pid import start_time
from tests import lacking
from tests.harness import cgroup_available
from tests.lacking import Answer, Change

Findings = dict[str, dict[str, str]]
NEWUSER = process.CLONE_NEWUSER


def hivebox(*arguments: str, change: Change | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """``hivebox ARGUMENTS`` on a host with ``change`` made to it."""
    return subprocess.run(
        [sys.executable, "-m", "hivebox", *arguments],
        capture_output=True, text=True, timeout=60, check=False, preexec_fn=change, env={**os.environ, **environment},
    )  # fmt: skip


def doctor(change: Change | None = None, **environment: str) -> tuple[int, Findings]:
    """Its exit code and findings by control."""
    done = hivebox("doctor", "--json", change=change, **environment)
    assert not done.stderr, done.stderr
    return done.returncode, {finding["control"]: finding for finding in json.loads(done.stdout)}


def assert_refused(change: Change, *words: str) -> None:
    """A run on that host stops with the three lines, before the program."""
    done = hivebox("run", "--", "true", change=change)
    lines = done.stderr.splitlines()
    assert done.returncode == 125, done.stderr
    assert lines[0].startswith("hivebox: cannot") and lines[1].startswith("why:  ") and lines[2].startswith("try:  ")
    assert len(lines) == 3
    for word in words:
        assert word in done.stderr


def test_names_every_control_and_agrees_with_a_run():
    code, findings = doctor()
    assert list(findings) == [check.control for check in CHECKS]
    for finding in findings.values():
        assert list(finding) == ["control", "status", "mechanism", "why", "fix"]
        assert finding["status"] in {"ok", "degraded", "missing"}
        assert (finding["status"] == "ok") == (not finding["why"]) == (not finding["fix"])
    assert code == any(finding["status"] == "missing" for finding in findings.values())
    assert (hivebox("run", "--", "true").returncode == 0) == (code == 0)


def test_the_table_shows_cause_and_command_and_ends_in_the_verdict():
    change = lacking.answering(Answer("openat2", errno.ENOSYS))
    done = hivebox("doctor", change=change)
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("missing   paths.openat2"))
    assert lines[at + 1].strip().startswith("why:  openat2(")
    assert lines[at + 2].strip().startswith("fix:  docker run")
    assert lines[-1].startswith("hivebox run does not work here: ") and "paths.openat2" in lines[-1]
    assert done.returncode == 1
    assert hivebox("doctor").stdout.splitlines()[-1].startswith("hivebox run works here")


def test_one_cause_is_told_once():
    """Five controls need a control group."""
    change = lacking.in_mount_namespace(lacking.covered("/sys/fs/cgroup"))
    said = hivebox("doctor", change=change).stdout
    assert said.count("no control groups are mounted") == 1
    assert said.count("why:  as for cgroup\n") == 4


def test_a_broken_security_policy_is_one_story(tmp_path: Path):
    (tmp_path / "security_policy.yml").write_text("limits:\n  wal_time: 5s\n")
    code, findings = doctor(HIVEBOX_CONFIG=str(tmp_path))
    assert (code, findings["profile"]["status"]) == (1, "missing")
    assert findings["sandbox"]["why"] == "not tried: it needs profile"
    lines = hivebox("doctor", HIVEBOX_CONFIG=str(tmp_path)).stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("missing   profile"))
    fix = next(number for number in range(at, len(lines)) if lines[number].startswith(f"{'':30}fix:  "))
    assert fix > at + 2, "the why has the line and a caret"
    assert lines[at + 1].startswith(f"{'':30}why:  ")
    assert all(line.startswith(f"{'':36}") for line in lines[at + 2 : fix])
    assert "hivebox run does not work here: profile, sandbox" in lines[-1]


def test_an_interrupted_doctor_leaves_nothing_behind(tmp_path: Path):
    command = [sys.executable, "-m", "hivebox", "doctor", "--json"]
    seen = 0
    for _ in range(5):
        with subprocess.Popen(
            command, env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.DEVNULL
        ) as process:
            while process.poll() is None and not [*tmp_path.glob("hivebox-doctor.*")]:
                time.sleep(0.0005)
            process.send_signal(signal.SIGINT)
            seen += process.wait() == 130
        assert not [*tmp_path.glob("hivebox-doctor.*")]
    assert seen, "some interrupt came while the sandbox was there"


def test_takes_no_arguments():
    done = hivebox("doctor", "everything")
    assert done.returncode == 125
    assert "unexpected argument: everything" in done.stderr


def test_leaves_nothing_behind(tmp_path: Path):
    temporary, state = tmp_path / "tmp", tmp_path / "not" / "yet"
    temporary.mkdir()
    before = _mounts_on_staging()
    code, _ = doctor(TMPDIR=str(temporary), HIVEBOX_STATE=str(state), HIVEBOX_DOCTOR_TEST=str(tmp_path))
    assert code == 0
    assert not list(temporary.iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]
    assert _mounts_on_staging() == before
    assert not list(_orphaned_groups())
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and _has_environment(pid, str(tmp_path))]


def _mounts_on_staging() -> int:
    """Where probes of mounts, and the sandbox, begin."""
    return sum(line.split()[4] == "/tmp" for line in Path("/proc/self/mountinfo").read_text().splitlines())


def _orphaned_groups() -> Iterator[str]:
    """Groups of probes that have ended. Other tests' doctors may be at work at the same time."""
    for directory, names, _ in os.walk("/sys/fs/cgroup"):
        for name in names:
            parts = name.split(".")
            if parts[-1] == "doctor" and start_time(int(parts[1])) != int(parts[2]):
                yield f"{directory}/{name}"


def _has_environment(pid: str, word: str) -> bool:
    try:
        return word.encode() in Path("/proc", pid, "environ").read_bytes()
    except OSError:
        return False


def test_user_namespaces_used_up():
    change = lacking.in_user_namespace(lacking.own_mounts, lacking.sysctl("user.max_user_namespaces", "0"))
    code, findings = doctor(change)
    assert code == 1
    found = findings["namespaces.user"]
    assert found["status"] == "missing"
    assert "ENOSPC" in found["why"] and "user.max_user_namespaces is 0" in found["why"]
    assert found["fix"] == "sudo sysctl -w user.max_user_namespaces=15000"
    assert findings["mounts.proc"]["why"].startswith("not tried")
    assert findings["mounts.proc"]["fix"] == found["fix"]
    assert findings["pidfd"]["status"] == "ok"
    assert_refused(change, "ENOSPC", "hivebox doctor")


@pytest.mark.parametrize(
    ("kind", "control"),
    [("mnt", "mount"), ("pid", "pid"), ("net", "network"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup")],
)
def test_one_kind_of_namespace_used_up(kind: str, control: str):
    knob = f"user.max_{kind}_namespaces"
    code, findings = doctor(lacking.in_user_namespace(lacking.sysctl(knob, "0")))
    assert code == 1
    found = findings[f"namespaces.{control}"]
    assert (found["status"], found["fix"]) == ("missing", f"sudo sysctl -w {knob}=15000")
    assert findings["namespaces.user"]["status"] == findings["identity"]["status"] == "ok"
    absent = {name for name, finding in findings.items() if finding["status"] == "missing"}
    assert not {name for name in absent if name.startswith("namespaces.")} - {f"namespaces.{control}"}


@pytest.mark.parametrize(
    ("number", "knobs", "cause", "fix"),
    [
        (errno.EPERM, {}, "a seccomp filter is in force", "docker run --security-opt seccomp=unconfined"),
        (errno.EPERM, {"unprivileged_userns_clone": "0\n"}, "kernel.unprivileged_userns_clone is 0",
         "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        (errno.EACCES, {}, "a security module (AppArmor, SELinux)", "sudo journalctl -k"),
        (errno.EACCES, {"apparmor_restrict_unprivileged_userns": "1\n"}, "AppArmor denies user namespaces",
         "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
        (errno.EINVAL, {}, "Linux 6", "docker run"),
    ],
)  # fmt: skip
def test_user_namespaces_forbidden(number: int, knobs: dict[str, str], cause: str, fix: str):
    refusing = lacking.answering(Answer("clone", number, 0, NEWUSER))
    change = lacking.in_mount_namespace(lacking.covered("/proc/sys/kernel", knobs), refusing) if knobs else refusing
    code, findings = doctor(change)
    found = findings["namespaces.user"]
    assert (code, found["status"]) == (1, "missing")
    assert errno.errorcode[number] in found["why"] and cause in found["why"]
    assert found["fix"].startswith(fix)
    assert_refused(change, "cannot make the sandbox's namespaces", errno.errorcode[number])


@pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user")
def test_apparmor_gives_the_namespace_but_no_capability_in_it():
    knobs = {"apparmor_restrict_unprivileged_userns": "1\n"}
    refusing = lacking.answering(Answer("sethostname", errno.EPERM), Answer("mount", errno.EACCES))
    code, findings = doctor(lacking.in_mount_namespace(lacking.covered("/proc/sys/kernel", knobs), refusing))
    assert code == 1
    for control in ("namespaces.uts", "mounts.tmpfs", "mounts.bind"):
        assert findings[control]["status"] == "missing"
        assert "AppArmor allows the user namespace, but no capability in it" in findings[control]["why"]
        assert findings[control]["fix"].startswith("sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0")


@pytest.mark.parametrize(
    ("answer", "control", "status", "since"),
    [
        (Answer("openat2", errno.ENOSYS), "paths.openat2", "missing", "5.6"),
        (Answer("open_tree", errno.ENOSYS), "mounts.bind", "missing", "5.12"),
        (Answer("move_mount", errno.ENOSYS), "mounts.bind", "missing", "5.12"),
        (Answer("mount_setattr", errno.ENOSYS), "mounts.bind", "missing", "5.12"),
        (Answer("pidfd_open", errno.ENOSYS), "pidfd", "missing", "5.4"),
        (Answer("seccomp", errno.EINVAL), "syscalls.filter", "missing", "5.0"),
        (Answer("landlock_create_ruleset", errno.ENOSYS), "landlock", "degraded", "5.13"),
        (Answer("memfd_create", errno.EINVAL, 1, 8), "memfd", "degraded", "6.3"),
    ],
    ids=lambda value: value.name if isinstance(value, Answer) else "",
)
def test_old_kernel(answer: Answer, control: str, status: str, since: str):
    refusing = lacking.answering(answer)

    def old() -> None:
        lacking.old()
        refusing()

    code, findings = doctor(old)
    found = findings[control]
    assert found["status"] == status
    assert f"it is there since Linux {since}, this is 2.6" in found["why"]
    assert found["fix"] == f"boot Linux {since} or newer"
    assert code == (status == "missing")
    # The same on a kernel that has it: then it is not the kernel.
    found = doctor(refusing)[1][control]
    assert found["status"] == status
    assert "but a seccomp filter answers for it" in found["why"]


@pytest.mark.parametrize("name", ["openat2", "mount_setattr", "pidfd_open", "seccomp"])
def test_a_run_on_an_old_kernel_stops(name: str):
    assert_refused(lacking.answering(Answer(name, errno.ENOSYS)), name, "ENOSYS")


@pytest.mark.parametrize(
    ("number", "fix"), [(errno.EOPNOTSUPP, "add landlock to lsm="), (errno.ENOSYS, "docker run --security-opt")]
)
def test_landlock_off_is_not_landlock_absent(number: int, fix: str, tmp_path: Path):
    change = lacking.answering(Answer("landlock_create_ruleset", number))
    code, findings = doctor(change)
    assert (code, findings["landlock"]["status"]) == (0, "degraded")
    assert findings["landlock"]["fix"].startswith(fix)
    assert findings["sandbox"]["status"] == "ok"
    controls = _controls_of_a_run(change, tmp_path)
    assert controls["landlock"]["enforced"] is False and controls["landlock"]["reason"]


def _controls_of_a_run(change: Change, tmp_path: Path) -> dict[str, Any]:
    done = hivebox("run", "--report", str(tmp_path / "report"), "--", "true", change=change)
    assert done.returncode == 0, done.stderr
    controls: dict[str, Any] = json.loads((tmp_path / "report").read_text())["controls"]
    return controls


def test_inside_another_sandbox_that_listens():
    """One filter with a listener is all that a process may have: seccomp(2), EBUSY."""
    code, findings = doctor(lacking.listened_to)
    assert (code, findings["syscalls.filter"]["status"]) == (1, "missing")
    assert "EBUSY" in findings["syscalls.filter"]["why"]
    assert findings["syscalls.filter"]["fix"] == "run hivebox outside that sandbox"
    assert_refused(lacking.listened_to, "EBUSY")


def test_no_control_groups(tmp_path: Path):
    change = lacking.in_mount_namespace(lacking.covered("/sys/fs/cgroup"))
    code, findings = doctor(change)
    found = findings["cgroup"]
    assert (code, found["status"]) == (0, "degraded")
    assert found["mechanism"].startswith("poll")
    assert "no control groups are mounted on /sys/fs/cgroup" in found["why"]
    assert found["fix"].startswith("docker run -v /sys/fs/cgroup")
    assert findings["sandbox"]["status"] == "ok"
    assert _controls_of_a_run(change, tmp_path)["cgroup"]["backend"] == "poll"


@pytest.mark.skipif(cgroup_available(), reason="needs an ordinary user without a delegated control group")
def test_control_groups_not_delegated(tmp_path: Path):
    code, findings = doctor()
    assert (code, findings["cgroup"]["status"]) == (0, "degraded")
    assert findings["cgroup"]["fix"].startswith("sudo scripts/delegate-cgroup ")


@pytest.mark.parametrize("point", ["/proc/tty", "/proc/sys"])
def test_masked_proc(point: str):
    change = lacking.in_mount_namespace(lacking.covered(point))
    code, findings = doctor(change)
    found = findings["mounts.proc"]
    assert (code, found["status"]) == (1, "missing")
    assert "EPERM" in found["why"] and f"are covered ({point})" in found["why"]
    assert found["fix"].startswith("docker run --security-opt systempaths=unconfined")
    assert_refused(change)


def _open_directory(state: Path) -> None:
    state.chmod(0o777)


def _readable_key(state: Path) -> None:
    (state / "keys").mkdir(mode=0o700)
    (state / "keys" / "signing.pem").write_text("")
    (state / "keys" / "signing.pem").chmod(0o644)


def _linked_key(state: Path) -> None:
    (state / "keys").mkdir(mode=0o700)
    (state / "keys" / "signing.pem").symlink_to("/dev/null")


def _fifo_ledger(state: Path) -> None:
    (state / "audit").mkdir(mode=0o700)
    os.mkfifo(state / "audit" / "ledger.jsonl", 0o600)


def _file_instead(state: Path) -> None:
    state.rmdir()
    state.write_text("")


@pytest.mark.parametrize(
    ("spoil", "control", "why", "fix"),
    [
        (_open_directory, "state", "mode 0777 lets other users in", "chmod go-rwx"),
        (_file_instead, "state", "ENOTDIR", "set HIVEBOX_STATE"),
        (_readable_key, "audit.key", "mode 0644 lets other users in", "chmod go-rwx"),
        (_linked_key, "audit.key", "signing.pem: a symbolic link", "put the file itself there"),
        (_fifo_ledger, "audit.ledger", "ledger.jsonl", "move it away"),
    ],
)
def test_state_that_others_reach(tmp_path: Path, spoil: Callable[[Path], None], control: str, why: str, fix: str):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    assert doctor(HIVEBOX_STATE=str(state))[0] == 0
    spoil(state)
    code, findings = doctor(HIVEBOX_STATE=str(state))
    assert (code, findings[control]["status"]) == (1, "missing")
    assert why in findings[control]["why"]
    assert findings[control]["fix"].startswith(fix)


def test_a_clock_behind_the_ledger(tmp_path: Path):
    (tmp_path / "audit").mkdir(mode=0o700)
    ledger = tmp_path / "audit" / "ledger.jsonl"
    ledger.touch(mode=0o600)
    tmp_path.chmod(0o700)
    assert doctor(HIVEBOX_STATE=str(tmp_path))[1]["audit.clock"]["status"] == "ok"
    os.utime(ledger, (4_000_000_000, 4_000_000_000))
    code, findings = doctor(HIVEBOX_STATE=str(tmp_path))
    assert (code, findings["audit.clock"]["status"]) == (0, "degraded")
    assert findings["audit.clock"]["fix"] == "sudo timedatectl set-ntp true"
