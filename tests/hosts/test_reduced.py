"""A running machine from which root takes something away: each time the run is refused, or says in its report what it did
without; the doctor names the cause; and what the doctor says mends it.

    scripts/vm/run --guest trixie --root --stock-delegation --env HIVEBOX_TEST_EMULATED=1 -- \\
        .venv/bin/python -m pytest tests/hosts/test_reduced.py
"""

from __future__ import annotations

import pwd
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hosts.caller import PYTHON_NOTHING, REPOSITORY, Caller, mend

pytestmark = pytest.mark.root
TESTER = Caller("tester")
ROOT = Caller("root")
STRICT = ("-p", "strict", *PYTHON_NOTHING)
OWN_MOUNTS = ("unshare", "--mount", "--propagation", "private", "sh", "-euc")


@contextmanager
def sysctl(name: str, value: str) -> Iterator[None]:
    knob = Path("/proc/sys", *name.split("."))
    before = knob.read_text()
    knob.write_text(value)
    try:
        yield
    finally:
        knob.write_text(before)


# -- user namespaces --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("caller", [TESTER, ROOT], ids=["tester", "root"])
def test_user_namespaces_used_up(caller: Caller) -> None:
    with sysctl("user.max_user_namespaces", "0"):
        caller.assert_refused(because="no space left on device (ENOSPC)")
        found = caller.found("namespaces.user", "missing", "user.max_user_namespaces is 0")
        mend(found)
        assert caller.controls()["namespaces"]["enforced"]


def test_user_namespaces_kept_for_root() -> None:
    with sysctl("kernel.unprivileged_userns_clone", "0"):
        TESTER.assert_refused(because="operation not permitted (EPERM)")
        assert ROOT.controls()["namespaces"]["enforced"]
        mend(TESTER.found("namespaces.user", "missing", "kernel.unprivileged_userns_clone is 0"))
        assert TESTER.controls()["namespaces"]["enforced"]


# Everything but what is taken away; the rules of this version know user namespaces.
CONFINED = """abi <abi/4.0>,
profile {name} flags=(attach_disconnected) {{
    file, network, signal, unix, ptrace, mount, umount, pivot_root, mqueue, dbus, {rest}
}}
"""


@contextmanager
def confined(name: str, rest: str) -> Iterator[Caller]:
    """The ordinary user under an AppArmor profile."""
    if not Path("/sys/kernel/security/apparmor/features/namespaces").exists():
        pytest.skip("this host has no AppArmor rules for user namespaces")
    text = CONFINED.format(name=name, rest=rest).encode()
    subprocess.run(["apparmor_parser", "--add", "--skip-cache"], input=text, check=True)
    try:
        yield TESTER._replace(become=("runuser", "-u", "tester", "--", "aa-exec", "-p", name, "--"))
    finally:
        subprocess.run(["apparmor_parser", "--remove"], input=text, check=True)


def test_apparmor_denies_user_namespaces() -> None:
    with confined("no-namespaces", "capability,") as caller:
        caller.assert_refused(because="permission denied (EACCES)")
        found = caller.found("namespaces.user", "missing", "AppArmor holds this process to the profile no-namespaces")
        assert "userns," in found["fix"]


def test_apparmor_denies_capabilities_in_a_user_namespace() -> None:
    with confined("no-capabilities", "userns,") as caller:
        caller.assert_refused(because="(E")
        found = caller.found("identity", "missing", "AppArmor holds this process to the profile no-capabilities")
        assert "capability," in found["fix"]


# -- control groups ---------------------------------------------------------------------------------------------------


@pytest.fixture
def stranger() -> Iterator[Caller]:
    """A user without a session, as after su or in a cron job: no systemd of their own runs."""
    subprocess.run(["useradd", "--create-home", "stranger"], check=True)
    yield Caller("stranger")
    subprocess.run(["loginctl", "disable-linger", "stranger"], check=True)
    subprocess.run(["loginctl", "terminate-user", "stranger"], check=True)


def test_nobody_delegates_a_control_group(stranger: Caller) -> None:
    stranger.assert_refused(*STRICT, because="systemd: this user's systemd does not run")
    skipped = stranger.controls()["cgroup"]
    assert skipped["backend"] == "poll"
    assert "this user's systemd does not run" in skipped["reason"]
    mend(stranger.found("cgroup", "degraded", "no systemd of their own, as after su or in a cron job"))
    subprocess.run(
        ["systemctl", "start", f"user@{pwd.getpwnam('stranger').pw_uid}"], check=True
    )  # enable-linger does not wait
    assert stranger.controls(*STRICT)["cgroup"]["backend"] == "systemd"


def test_a_stock_systemd_gives_no_disk_io() -> None:
    limited = ("--io-write", "1M", "--ro", "/usr/lib:/lib-of-host", "--", "true")
    TESTER.assert_refused(*limited, because="cannot limit by the cgroup controller io")
    assert TESTER.controls(*STRICT)["cgroup"]["backend"] == "systemd"
    mend(TESTER.found("cgroup.io", "degraded", "systemd gives users cpu, memory and pids"))
    subprocess.run(["systemctl", "restart", "user@1000"], check=True)  # log out and in
    try:
        assert TESTER.controls(*limited)["cgroup"]["io"]["write_bytes_s"] == 1 << 20
        assert TESTER.doctor()["cgroup.io"]["status"] == "ok"
    finally:
        subprocess.run(["scripts/delegate-cgroup", "--remove", "tester"], check=True)
        subprocess.run(["loginctl", "enable-linger", "tester"], check=True)
        subprocess.run(["systemctl", "restart", "user@1000"], check=True)


@pytest.mark.parametrize("user", ["tester", "root"])
@pytest.mark.parametrize(
    ("change", "failure", "cause"),
    [
        ("mount -o remount,bind,ro /sys/fs/cgroup", "(EROFS)", "mounted read-only, as in a container"),
        ("umount /sys/fs/cgroup", "no cgroup2 file system", "no control groups are mounted"),
    ],
    ids=["read_only", "not_mounted"],
)
def test_no_use_of_control_groups(user: str, change: str, failure: str, cause: str) -> None:
    caller = Caller(user, (*OWN_MOUNTS, f'{change}; exec "$@"', "sh"))
    caller.assert_refused(*STRICT, because=failure)
    skipped = caller.controls()["cgroup"]
    assert skipped["backend"] == "poll"
    assert failure in skipped["reason"]
    found = caller.found("cgroup", "degraded", cause)
    assert found["fix"].startswith("docker run -v /sys/fs/cgroup:/sys/fs/cgroup:rw")


def test_in_a_login_session_systemd_makes_the_group() -> None:
    """As sshd makes one; nothing in it is ours to divide."""
    options = ("--wait", "--pipe", "--collect", "--working-directory", str(REPOSITORY))
    session = ("systemd-run", "--quiet", *options, "-p", "PAMName=login", "-p", "User=tester", "--")
    facts = TESTER._replace(become=session).controls(*STRICT)["cgroup"]
    assert facts["backend"] == "systemd"
    assert "no group here is ours to divide" in facts["passed_over"]["v2"]


# -- containers -------------------------------------------------------------------------------------------------------


def contained(kind: str) -> Caller:
    """The ordinary user in a container of theirs (container.py)."""
    become = ("runuser", "-u", "tester", "--", sys.executable, "-m", "tests.hosts.container", kind)
    return Caller(f"tester-{kind}", become=become)


def test_root_of_an_unprivileged_container() -> None:
    contained("root").assert_refused(because="(EPERM)")
    found = contained("root").found("identity", "missing", "this root lives in a user namespace without the uids")
    assert found["fix"].startswith("run hivebox as an ordinary user")


def test_a_container_that_masks_proc() -> None:
    contained("masked").assert_refused(because="(EPERM)")
    found = contained("masked").found("mounts.proc", "missing", "parts of this host's own /proc are covered (/proc/")
    assert found["fix"].startswith("docker run --security-opt systempaths=unconfined")


def test_a_container_that_filters_namespaces() -> None:
    contained("filtered").assert_refused(because="(EPERM)")
    found = contained("filtered").found("namespaces.user", "missing", "a seccomp filter is in force on this process")
    assert found["fix"].startswith("docker run --security-opt seccomp=unconfined")


def test_a_container_that_was_opened_as_the_doctor_says() -> None:
    """What is left to miss is a group: recorded where the profile allows it, else refused."""
    caller = contained("open")
    skipped = caller.controls()["cgroup"]
    assert skipped["backend"] == "poll"
    assert "no group here is ours to divide" in skipped["reason"]
    caller.assert_refused(*STRICT, because="no group here is ours to divide")
    found = caller.found("cgroup", "degraded", "mounted read-only, as in a container")
    assert found["fix"].startswith("docker run -v /sys/fs/cgroup:/sys/fs/cgroup:rw")
