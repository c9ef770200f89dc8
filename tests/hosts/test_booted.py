"""A kernel that was started without Landlock and without the controllers of memory and processes.

    scripts/vm/run --guest trixie --append lsm=yama --append cgroup_disable=memory,pids --env HIVEBOX_TEST_EMULATED=1 -- \\
        .venv/bin/python -m pytest tests/hosts/test_booted.py
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.hosts.caller import PYTHON_NOTHING, Caller

TESTER = Caller("tester")
# As strict as the profile of that name, but for one of the two things that are missing.
WANTS_LANDLOCK = "extends: strict\nlimits:\n  without_cgroup: poll\n"
WANTS_CGROUP = "extends: strict\noptional: [landlock]\n"


def test_it_lacks_them() -> None:
    assert os.geteuid() != 0
    assert "landlock" not in Path("/sys/kernel/security/lsm").read_text()
    assert not {"memory", "pids"} & set(Path("/sys/fs/cgroup/cgroup.controllers").read_text().split())


def test_no_landlock(tmp_path: Path) -> None:
    skipped = TESTER.controls()["landlock"]
    assert not skipped["enforced"]
    assert "Landlock" in skipped["reason"]
    profile = tmp_path / "wants.yaml"
    profile.write_text(WANTS_LANDLOCK)
    TESTER.assert_refused("-p", str(profile), *PYTHON_NOTHING, because="Landlock")
    found = TESTER.found("landlock", "degraded", "built in, but not enabled at boot")
    assert found["fix"].startswith("add landlock to lsm=")


def test_no_controllers(tmp_path: Path) -> None:
    skipped = TESTER.controls()["cgroup"]
    assert skipped["backend"] == "poll"
    assert "memory" in skipped["reason"]
    profile = tmp_path / "wants.yaml"
    profile.write_text(WANTS_CGROUP)
    TESTER.assert_refused("-p", str(profile), *PYTHON_NOTHING, because="memory")
    found = TESTER.found("cgroup", "degraded", "this kernel offers no cgroup controller memory, pids")
    assert found["fix"].startswith("take cgroup_disable= off")
    TESTER.assert_refused("--cpus", "0.5", "--", "true", because="memory")
