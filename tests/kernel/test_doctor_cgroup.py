"""`hivebox doctor` on cgroup v2 hosts that lack something, and `hivebox run` on the same ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from hivebox.kernel import mount
from hivebox.kernel.cgroup.delegated import mount_point
from tests import lacking
from tests.harness import cgroup_available
from tests.kernel.conftest import HAS_V1
from tests.kernel.test_doctor import doctor, hivebox

pytestmark = pytest.mark.skipif(HAS_V1, reason="this host has no cgroup v2 controllers")


def in_plain_scope(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``hivebox ARGUMENTS`` in a unit of the user's systemd without ``Delegate=``: as in a login session, no group
    there is ours to divide."""
    if shutil.which("systemd-run") is None or not cgroup_available(("systemd",)):
        pytest.skip("needs a user's own systemd")
    inside = ["env", *(f"{name}={value}" for name, value in environment.items()), sys.executable, "-m", "hivebox"]
    return subprocess.run(
        ["systemd-run", "--user", "--scope", "--quiet", *inside, *arguments],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def finding(done: subprocess.CompletedProcess[str], control: str) -> dict[str, str]:
    return next(finding for finding in json.loads(done.stdout) if finding["control"] == control)


def _read_only() -> None:
    top = mount_point()
    mount.mount(top, top, "", mount.MS_BIND)
    mount.mount("", top, "", mount.MS_BIND | mount.MS_RDONLY | 32 | 14)  # MS_REMOUNT; nosuid, nodev, noexec are locked


def test_a_read_only_file_system_of_groups_as_in_a_container() -> None:
    change = lacking.in_mount_namespace(_read_only)
    code, findings = doctor(change)
    found = findings["cgroup"]
    assert (code, found["status"]) == (0, "degraded")
    assert "EROFS" in found["why"] and "mounted read-only, as in a container" in found["why"]
    assert found["fix"].startswith("docker run -v /sys/fs/cgroup:/sys/fs/cgroup:rw")
    done = hivebox("run", "-p", "strict", "--", "python3", "-c", "", change=change)
    assert done.returncode == 125 and "EROFS" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user")
def test_a_user_without_a_systemd_of_their_own() -> None:
    done = in_plain_scope("doctor", "--json", XDG_RUNTIME_DIR="/nonexistent")
    found = finding(done, "cgroup")
    assert (done.returncode, found["status"]) == (0, "degraded")
    assert "/nonexistent/systemd/private" in found["why"] and "as after su or in a cron job" in found["why"]
    assert found["fix"].startswith("sudo loginctl enable-linger ")
    done = in_plain_scope("run", "-p", "strict", "--", "python3", "-c", "", XDG_RUNTIME_DIR="/nonexistent")
    assert done.returncode == 125
    assert "cannot make a control group" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user")
def test_a_group_that_is_systemds_is_left_to_it() -> None:
    found = finding(in_plain_scope("doctor", "--json"), "cgroup")
    assert found["status"] == "ok"
    assert "in a scope of systemd (not v2: no group here is ours to divide" in found["mechanism"]


def test_no_control_groups_and_a_profile_that_wants_them() -> None:
    change = lacking.in_mount_namespace(lacking.covered("/sys/fs/cgroup"))
    done = hivebox("run", "-p", "strict", "--", "python3", "-c", "", change=change)
    assert done.returncode == 125
    assert "control group" in done.stderr
