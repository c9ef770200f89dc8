"""On a host whose mounts are shared (systemd makes them so), nothing that a sandbox mounts reaches the host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

INSIDE = """
import sys
from pathlib import Path
from hivebox.policy.model import Filesystem, Mount
from tests.harness import Runner, policy
outer, inner = sys.argv[1:]
mounts = (Mount(outer, "/data", "read_only"), Mount(inner, "/data/point", "read_only"))
before = Path("/proc/self/mountinfo").read_text()
assert "shared:" in before
report = Runner().command("sh", "-c", "cat /data/point/f", policy=policy(filesystem=Filesystem(mounts=mounts)))
print(report.stdout.decode(), Path("/proc/self/mountinfo").read_text() == before)
"""


@pytest.mark.root
def test_nested_grants_do_not_mount_on_the_host(scratch: Path) -> None:
    (scratch / "outer/point").mkdir(parents=True)
    (scratch / "inner").mkdir()
    (scratch / "inner/f").write_text("inner")
    command = ["unshare", "--mount", "--propagation", "shared", sys.executable, "-c", INSIDE]
    done = subprocess.run(
        [*command, str(scratch / "outer"), str(scratch / "inner")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "inner True\n", done.stderr
