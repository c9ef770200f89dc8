"""A disk that takes no more blocks while the file system believes that it has some, as a thin pool that ran full or a drive
without spare sectors: write(2) succeeds, and the kernel's own write-back fails.

It is a loop device over a sparse file on a tmpfs that is too small for it, in a mount namespace of its own. The error is
ENOSPC, as the loop device passes it on, and it comes from fdatasync(2) alone: the file system has room. (ext4 with a
journal: without one, Linux 6.18 loses what a program that is alone wrote and synced after such an error, as the same
loop with open, write and fdatasync shows.)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hivebox.audit import history, keys, segments, verify
from hivebox.audit.rules import ERROR
from tests.unit.test_audit_stress import WRITER, acknowledged

ROOT = Path(__file__).parents[2]
WRITERS = 6
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not os.path.exists("/dev/loop-control"), reason="this host has no loop devices"),
    pytest.mark.skipif(not shutil.which("mkfs.ext4", path="/usr/sbin:/sbin"), reason="needs e2fsprogs"),
]
# What counts is what is on the disk: so the file system is unmounted, and with it every page that was never written.
# Requests of one block: the loop device tells of a write that was cut short as of one that was done.
ON_A_BAD_DISK = """
mount -t tmpfs -o size=6m tmpfs "$1"
truncate -s 24M "$1/image"
mkfs.ext4 -q -b 4096 -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "$1/image"
mkdir "$1/disk"
loop=$(losetup --find --show "$1/image")
trap 'losetup --detach "$loop"' EXIT
echo 4 >"/sys/block/${loop#/dev/}/queue/max_sectors_kb"
mount -o errors=continue "$loop" "$1/disk"
for number in 1 2 3 4 5 6; do
    "$2" -c "$3" "$1/disk/state" "w$number" 70 >"$4/told-$number" &
done
wait
umount "$1/disk"
mount -o remount,size=32m "$1"  # so that the journal can be replayed
mount "$loop" "$1/disk"
cp -a "$1/disk/state" "$4/state"
umount "$1/disk"
"""


def test_what_is_acknowledged_is_on_a_disk_that_fails_behind_the_page_cache(tmp_path: Path) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    base.mkdir()
    out.mkdir()
    command = ["unshare", "-m", "sh", "-ec", ON_A_BAD_DISK, "sh", str(base), sys.executable, WRITER, str(out)]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed = [(out / f"told-{number}").read_text() for number in range(1, WRITERS + 1)]
    refused = [line for text in printed for line in text.splitlines() if line.startswith("refused")]
    assert any("ENOSPC" in line for line in refused), "a sync failed"
    assert any("the disk failed while" in line for line in refused), "for others than the one who asked for it"
    told = set().union(*map(acknowledged, printed))
    assert len(told) > WRITERS
    lines = list(segments.read_lines(str(out / "state/audit")))
    verdict = verify.verify(lines, keys.public_keys(str(out / "state")))
    assert [found for found in verdict.findings if found.severity == ERROR] == []
    assert told <= {(entry.record.seq, entry.sha256()) for entry in history.entries(lines)}
