"""`hivebox doctor` as root on hosts that lack something that only root can take away."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hivebox.kernel import mount
from hivebox.kernel.cgroup import own_groups
from tests import lacking
from tests.kernel.test_doctor import NEWUSER, assert_refused, doctor
from tests.lacking import Answer

pytestmark = pytest.mark.root
HAS_V1 = "memory" in own_groups()
needs_v1 = pytest.mark.skipif(not HAS_V1, reason="needs cgroup v1 hierarchies")


@needs_v1
def test_everything_is_there_for_root_on_v1():
    code, findings = doctor()
    assert code == 0
    assert findings["cgroup"]["mechanism"] == "cgroup v1: memory, pids, cpuacct"
    assert findings["identity"]["mechanism"] == "uid_map, a uid of its own for each run"


def _only_v2() -> None:
    mount.mount("tmpfs", "/sys/fs/cgroup", "tmpfs", 0)
    mount.mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0)


@needs_v1
def test_a_cgroup2_mount_without_the_controllers_is_not_taken():
    code, findings = doctor(lacking.in_mount_namespace(_only_v2))
    found = findings["cgroup"]
    assert (code, found["status"]) == (0, "degraded")
    assert found["mechanism"].startswith("poll")
    assert "no control groups are mounted on /sys/fs/cgroup" in found["why"]


def _read_only_groups() -> None:
    for name in filter(None, own_groups()):
        point = f"/sys/fs/cgroup/{name}"
        if Path(point).is_dir():
            mount.mount(point, point, "", mount.MS_BIND)
            mount.mount("", point, "", mount.MS_BIND | mount.MS_RDONLY | 32)  # MS_REMOUNT


@needs_v1
def test_control_groups_mounted_read_only():
    found = doctor(lacking.in_mount_namespace(_read_only_groups))[1]["cgroup"]
    assert found["status"] == "degraded"
    assert "EROFS" in found["why"] and "mounted read-only, as in a container" in found["why"]
    assert found["fix"].startswith("docker run -v /sys/fs/cgroup:/sys/fs/cgroup:rw")


def test_root_of_a_namespace_without_the_range_of_uids():
    """As `unshare -r` and rootless containers make it: root by name, with one uid of its own."""
    command = ["unshare", "-r", sys.executable, "-m", "hivebox", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("missing   identity"))
    assert "this root lives in a user namespace without the uids 1900000000 to 1900065535" in lines[at + 1]
    assert "run hivebox as an ordinary user" in lines[at + 2]
    assert done.returncode == 1


def test_state_of_another_user(tmp_path: Path):
    os.chown(tmp_path, 12345, 12345)
    code, findings = doctor(HIVEBOX_STATE=str(tmp_path))
    assert (code, findings["state"]["status"]) == (1, "missing")
    assert "owned by uid 12345" in findings["state"]["why"]


def test_state_on_a_full_file_system(tmp_path: Path):
    def fill() -> None:
        mount.mount("tmpfs", str(tmp_path), "tmpfs", 0, "mode=0700,nr_inodes=1")

    code, findings = doctor(lacking.in_mount_namespace(fill), HIVEBOX_STATE=str(tmp_path))
    assert (code, findings["state"]["status"]) == (1, "missing")
    assert "ENOSPC" in findings["state"]["why"]


def test_a_file_system_without_idmapped_mounts(tmp_path: Path):
    def without_them() -> None:
        mount.mount("sysfs", str(tmp_path), "sysfs", 0)

    findings = doctor(lacking.in_mount_namespace(without_them), HIVEBOX_STATE=str(tmp_path))[1]
    assert findings["mounts.idmapped"]["status"] == "degraded"
    assert "no idmapped mounts" in findings["mounts.idmapped"]["why"]


def test_root_without_user_namespaces_is_stopped_too():
    """Root needs the user namespace as well: the payload is never the host's root."""
    change = lacking.answering(Answer("clone", errno.EPERM, 0, NEWUSER))
    assert doctor(change)[1]["namespaces.user"]["status"] == "missing"
    assert_refused(change)
