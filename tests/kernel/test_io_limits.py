"""Disk I/O: the rate that a script gets is the limit's, within 15 %, on every control group that this host has."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivebox.errors import HiveboxError
from hivebox.kernel.cgroup.devices import disks
from hivebox.policy.model import Filesystem, Mount, Policy
from tests import lacking
from tests.harness import LIMITS, Runner, policy
from tests.kernel.conftest import by, polled
from tests.kernel.test_doctor import hivebox

MIB = 1 << 20
PYTHON = "/usr/bin/python3"
# Direct I/O needs aligned memory, which a map has. What is buffered goes to a new file: the kernel holds whoever made
# an inode dirty first responsible for it. Prints bytes in a second.
COPY = """
import mmap, os, sys, time
kind, total, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
block = mmap.mmap(-1, size); block.write(b'x' * size)
flags = {'write': os.O_WRONLY | os.O_DIRECT, 'buffered': os.O_WRONLY | os.O_CREAT, 'read': os.O_RDONLY | os.O_DIRECT}[kind]
handle = os.open('/data/new' if kind == 'buffered' else '/data/file', flags)
done, begin = 0, time.monotonic()
while done < total: done += os.readv(handle, [block]) if kind == 'read' else os.write(handle, block)
os.fsync(handle)
print(done / (time.monotonic() - begin))
"""


@pytest.fixture
def disk() -> Iterator[Path]:
    """A directory on a disk, with a file of 16 MiB in it that the run's user may write."""
    path = Path(tempfile.mkdtemp(prefix="hivebox-disk-", dir="/var/tmp"))
    try:
        disks((str(path),))
    except HiveboxError:
        shutil.rmtree(path)
        pytest.skip("this host has no disk behind /var/tmp")
    file = path / "file"
    file.write_bytes(bytes(16 * MIB))
    for entry in (path, file):
        entry.chmod(0o777)
        os.chown(entry, os.geteuid() or 65534, -1)
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    yield path
    shutil.rmtree(path)


def throttled(disk: Path, **rates: int) -> Policy:
    limits = LIMITS._replace(memory_bytes=128 * MIB, **rates)
    return policy(limits=limits, filesystem=Filesystem(mounts=(Mount(str(disk), "/data", "read_write"),)))


@pytest.mark.parametrize(
    ("kind", "rates", "total", "block", "per_block"),
    [
        ("write", {"io_write_bytes_s": MIB}, 4 * MIB, 1 << 16, 0),
        ("buffered", {"io_write_bytes_s": MIB}, 4 * MIB, 1 << 16, 0),
        ("read", {"io_read_bytes_s": MIB}, 4 * MIB, 1 << 16, 0),
        ("write", {"io_write_ops_s": 10}, 30 * 4096, 4096, 1),
        ("read", {"io_read_ops_s": 10}, 30 * 4096, 4096, 1),
    ],
    ids=["write", "buffered", "read", "write_ops", "read_ops"],
)
def test_rate(
    runner: Runner, grouped, disk: Path, kind: str, rates: dict[str, int], total: int, block: int, per_block: int
) -> None:
    """Never faster. Slower it may be once or twice, when others keep the disk busy."""
    command = (PYTHON, "-c", COPY, kind, str(total), str(block))
    limit = next(iter(rates.values()))
    for _ in range(3):
        report = runner.command(*command, policy=throttled(disk, **rates), transform=grouped)
        assert report.outcome == "ok", report.stderr
        rate = float(report.stdout) / (block if per_block else 1)
        assert rate <= limit * 1.15
        counted = report.ending.io_read_bytes if kind == "read" else report.ending.io_write_bytes
        assert counted == pytest.approx(total, rel=0.1)
        assert report.controls["cgroup"]["io"]["devices"]
        if rate >= limit * 0.85:
            return
    pytest.fail(f"{rate:.0f} is too far below {limit}")


def test_without_a_limit_the_same_writer_is_faster(runner: Runner, grouped, disk: Path) -> None:
    report = runner.command(
        PYTHON, "-c", COPY, "write", str(6 * MIB), "65536", policy=throttled(disk), transform=grouped
    )
    assert float(report.stdout) > 2 * MIB * 1.5


def test_a_path_that_is_on_no_disk_is_refused_by_name() -> None:
    change = lacking.in_mount_namespace(lacking.covered("/srv"))
    done = hivebox("run", "--io-write", "1M", "--rw", "/srv:/data", "--", "true", change=change)
    assert done.returncode == 125
    assert "cannot limit the disk I/O of /srv" in done.stderr
    assert "tmpfs" in done.stderr


def test_a_mount_below_a_granted_path_is_found_too() -> None:
    change = lacking.in_mount_namespace(lacking.covered("/srv"))
    done = hivebox("run", "--io-write", "1M", "--ro", "/usr/lib:/l", "--rw", "/srv", "--", "true", change=change)
    assert "cannot limit the disk I/O of /srv" in done.stderr


def test_rates_cannot_be_polled(runner: Runner, disk: Path) -> None:
    with pytest.raises(HiveboxError, match="cannot limit disk I/O"):
        runner.command("true", policy=throttled(disk, io_write_bytes_s=MIB), transform=by("none"))


def test_a_plan_without_rates_looks_for_no_disks(runner: Runner, disk: Path) -> None:
    assert "io" not in runner.command("true", policy=throttled(disk), transform=polled).controls["cgroup"]
