"""A run whose record cannot be written is refused: exit code 125, and the script did not run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hivebox.audit import keys, segments, verify

pytestmark = pytest.mark.root
RUNS = """
mount -t tmpfs -o size=40k,mode=700 tmpfs "$HIVEBOX_STATE/audit"
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    "$1" -m hivebox run --rw "$2:/out" -- sh -c 'echo x >> /out/ran' 2>"$2/err" || { echo $?; break; }
done
cat "$2/err"
cp -a "$HIVEBOX_STATE/audit" "$3"
"""


def test_a_full_disk_refuses_the_run(scratch: Path, tmp_path: Path) -> None:
    state = os.environ["HIVEBOX_STATE"]
    os.makedirs(os.path.join(state, "audit"), mode=0o700, exist_ok=True)
    command = [
        "unshare",
        "-m",
        "sh",
        "-ec",
        RUNS.replace("run --rw", "run -p shell --rw"),
        "sh",
        sys.executable,
        str(scratch),
        str(tmp_path / "copy"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    code, error = done.stdout.split("\n", 1)
    assert code == "125", done.stdout
    assert "cannot write the audit record" in error
    assert "ENOSPC" in error
    verdict = verify.verify(segments.read_lines(str(tmp_path / "copy")), keys.public_keys(state))
    assert verdict.good
    ran = (scratch / "ran").read_text().count("x")
    assert verdict.runs == ran, "what ran has a record, what has none did not run"
