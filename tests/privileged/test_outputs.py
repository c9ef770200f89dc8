"""Outputs that do not fit where they are to go."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.root
FULL_AND_AGAIN = """
mount -t tmpfs -o size=1m tmpfs "$1"
dd if=/dev/zero of="$1/fill" bs=4k count=240 status=none
"$2" -m hivebox run --out "$1" -- python3 -c "open('result', 'w').write('x' * 100_000)" 2>&1 || echo "code $?"
ls "$1"
rm "$1/fill"
"$2" -m hivebox run --out "$1" -- python3 -c "open('result', 'w').write('x' * 100_000)" && wc -c < "$1/result"
"""


def test_a_full_disk_leaves_no_half_of_a_result(tmp_path: str) -> None:
    command = ["unshare", "-m", "sh", "-c", FULL_AND_AGAIN, "sh", str(tmp_path), sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "cannot write the output result" in done.stdout, done.stderr
    assert "code 125\nfill\n100000\n" in done.stdout
