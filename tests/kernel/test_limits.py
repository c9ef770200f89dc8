"""Each limit, reached by a hostile tree: stopped within a tenth of it, and named. By every backend that this host has
(conftest.py)."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys

import pytest

from hivebox.cli.run import _remarks as remarks
from hivebox.errors import HiveboxError
from hivebox.kernel.pid import stat
from hivebox.policy.model import Limits
from hivebox.report import Report
from hivebox.supervise.meter import PollMeter
from tests.harness import LIMITS, Runner, policy, slack_s, wait_for
from tests.kernel.conftest import HAS_V1, by

MIB = 1 << 20
PYTHON = "/usr/bin/python3"


def is_polled(report: Report) -> bool:
    return report.controls["cgroup"]["backend"] == "poll"


def limited(**values: float) -> Limits:
    return LIMITS._replace(**values)


def test_wall_time(runner: Runner, backend) -> None:
    report = runner.command("sleep", "30", policy=policy(limits=limited(wall_time_s=0.5)), transform=backend)
    assert (report.outcome, report.ending.cause.control, report.exit_code) == ("timeout", "wall_time", 124)
    assert 0.5 <= report.ending.wall_s < 1.5 + slack_s()


def test_cpu_time_of_the_whole_tree(runner: Runner, backend) -> None:
    burn = "for i in 1 2 3; do (while :; do :; done) & done; wait"
    report = runner.command(
        "sh", "-c", burn, policy=policy(limits=limited(cpu_time_s=5, wall_time_s=120)), transform=backend
    )
    used = report.ending.cpu_user_s + report.ending.cpu_system_s
    assert (report.outcome, report.ending.cause.control, report.exit_code) == ("cpu_time", "cpu_time", 124)
    assert 4.9 <= used <= 5.5


def test_cpu_time_of_one_process_that_ignores_sigxcpu(runner: Runner, backend) -> None:
    code = "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    report = runner.command(PYTHON, "-c", code, policy=policy(limits=limited(cpu_time_s=1)), transform=backend)
    assert report.outcome == "cpu_time"


def test_memory_of_one_process(runner: Runner, backend) -> None:
    code = "import time\nkept = []\nwhile True:\n kept.append(bytearray(1 << 20)); time.sleep(0.001)"
    report = runner.command(PYTHON, "-c", code, policy=policy(limits=limited(memory_bytes=64 * MIB)), transform=backend)
    assert (report.outcome, report.ending.cause.control, report.exit_code) == ("memory", "memory", 137)
    assert report.ending.memory_peak_bytes <= 64 * MIB * (1.25 if is_polled(report) else 1)


def test_memory_of_three_children(runner: Runner, backend) -> None:
    code = "import os, time\nfor _ in range(3): os.fork()\nkept = bytearray(16 << 20); time.sleep(5)"
    report = runner.command(PYTHON, "-c", code, policy=policy(limits=limited(memory_bytes=64 * MIB)), transform=backend)
    assert (report.outcome, report.ending.cause.control) == ("memory", "memory")
    if not is_polled(report):
        assert report.ending.memory_peak_bytes <= 64 * MIB


def test_memory_in_the_work_directory(runner: Runner, backend) -> None:
    limits = limited(memory_bytes=32 * MIB, workdir_size_bytes=256 * MIB, file_size_bytes=256 * MIB)
    fill = "head -c 200000000 /dev/zero > /dev/shm/x; sleep 1"
    report = runner.command("sh", "-c", fill, policy=policy(limits=limits), transform=backend)
    assert report.outcome == "memory"


def test_memory_in_connections_that_nobody_accepts(runner: Runner, backend) -> None:
    code = (
        "import socket, time\n"
        "listener = socket.create_server(('127.0.0.1', 0), backlog=4000)\n"
        "for _ in range(2000):\n"
        "    with socket.create_connection(listener.getsockname()) as client: client.sendall(bytes(50_000))\n"
        "time.sleep(1)"
    )
    report = runner.command(PYTHON, "-c", code, policy=policy(limits=limited(memory_bytes=48 * MIB)), transform=backend)
    assert (report.outcome, report.ending.cause.control) == ("memory", "memory")


def test_connections_that_are_accepted_are_a_server_at_work(runner: Runner, backend) -> None:
    """More of them than could all wait: each is listed, and none is taken for one that waits."""
    code = (
        "import asyncio\n"
        "async def answer(reader, writer):\n"
        "    writer.write(await reader.readexactly(100_000)); await writer.drain(); await asyncio.sleep(0.5)\n"
        "    writer.close()\n"
        "async def ask(port):\n"
        "    reader, writer = await asyncio.open_connection('127.0.0.1', port)\n"
        "    writer.write(bytes(100_000)); got = len(await reader.readexactly(100_000)); writer.close(); return got\n"
        "async def main():\n"
        "    server = await asyncio.start_server(answer, '127.0.0.1', 0)\n"
        "    port = server.sockets[0].getsockname()[1]\n"
        "    print(sum(await asyncio.gather(*(ask(port) for _ in range(100)))))\n"
        "asyncio.run(main())"
    )
    limits = limited(memory_bytes=128 * MIB)
    report = runner.command(PYTHON, "-c", code, policy=policy(limits=limits), transform=backend)
    assert (report.outcome, report.stdout) == ("ok", b"10000000\n")


def test_processes(runner: Runner, backend) -> None:
    code = "import os\nwhile True:\n try: os.fork()\n except OSError: pass"
    report = runner.command(PYTHON, "-c", code, policy=policy(limits=limited(pids=20)), transform=backend)
    assert (report.outcome, report.ending.cause.control) == ("pids", "pids")
    assert report.ending.pids_peak <= 20 + is_polled(report)


def test_one_process_where_one_is_allowed(runner: Runner, backend) -> None:
    code = "import time; time.sleep(0.3); print('done')"
    report = runner.command(PYTHON, "-c", code, policy=policy(limits=limited(pids=1)), transform=backend)
    assert (report.outcome, report.stdout, report.ending.pids_peak) == ("ok", b"done\n", 1)


def test_threads_count_as_processes(runner: Runner, backend) -> None:
    code = "import threading, time\nfor _ in range(50): threading.Thread(target=time.sleep, args=(5,)).start()"
    report = runner.command(PYTHON, "-c", code, policy=policy(limits=limited(pids=20)), transform=backend)
    assert report.outcome == "pids"


def test_file_size(runner: Runner, backend) -> None:
    limits = limited(file_size_bytes=MIB)
    report = runner.command("head", "-c", "9000000", "/dev/zero", policy=policy(limits=limits), transform=backend)
    assert report.outcome == "ok", "a pipe is not a file"
    write = "exec head -c 9000000 /dev/zero > /work/x"
    report = runner.command("sh", "-c", write, policy=policy(limits=limits), transform=backend)
    assert (report.outcome, report.ending.cause.control) == ("signaled", "file_size")


def test_work_directory_size_over_four_files(runner: Runner, backend) -> None:
    limits = limited(workdir_size_bytes=4 * MIB)
    code = "import os\nfor p in ('/work/a', '/work/b', '/tmp/c', '/dev/shm/d'):\n open(p, 'wb').write(bytes(2 << 20))"
    report = runner.command(PYTHON, "-c", code, policy=policy(limits=limits), transform=backend)
    assert report.outcome == "failed"
    assert b"No space left" in report.stderr


def test_work_directory_inodes(runner: Runner, backend) -> None:
    limits = limited(workdir_inodes=500)
    code = "for n in range(10 ** 6):\n print(n)\n open(f'/work/{n}', 'w')\n"
    report = runner.command(PYTHON, "-c", code, policy=policy(limits=limits), transform=backend)
    assert report.outcome == "failed"
    assert b"No space left" in report.stderr
    assert 450 <= int(report.stdout.split()[-1]) <= 500


def test_output_flood(runner: Runner, backend) -> None:
    flood = "yes & yes >&2 & yes"
    report = runner.command("sh", "-c", flood, policy=policy(limits=limited(output_size_bytes=MIB)), transform=backend)
    assert (report.outcome, report.ending.cause.control) == ("output", "output_size")
    assert len(report.stdout) + len(report.stderr) <= MIB
    assert report.ending.stdout_bytes + report.ending.stderr_bytes <= MIB * 1.1


def test_cpu_bandwidth_of_three_children(runner: Runner, grouped) -> None:
    """Half a processor for two seconds: one second of CPU time."""
    burn = "for i in 1 2 3; do (while :; do :; done) & done; wait"
    limits = limited(cpus=0.5, wall_time_s=4)
    report = runner.command("sh", "-c", burn, policy=policy(limits=limits), transform=grouped)
    used = report.ending.cpu_user_s + report.ending.cpu_system_s
    assert report.outcome == "timeout"
    assert 0.1 <= used / report.ending.wall_s <= 0.55  # a busy host gives less
    stalled = report.ending.stall_cpu_s
    assert stalled is None if HAS_V1 else stalled > 1, "they waited for each other"


def test_cpu_bandwidth_cannot_be_polled(runner: Runner) -> None:
    with pytest.raises(HiveboxError, match="cannot limit CPU bandwidth"):
        runner.command("true", policy=policy(limits=limited(cpus=1)), transform=by("none"))


HOSTILE = {
    "memory": (PYTHON, "-c", "kept = []\nwhile True: kept.append(bytearray(1 << 20))"),
    "pids": (PYTHON, "-c", "import os\nwhile True:\n try: os.fork()\n except OSError: pass"),
    "cpu_time": ("sh", "-c", "for i in 1 2 3 4; do (while :; do :; done) & done; wait"),
    "output": ("sh", "-c", "yes & yes >&2 & yes"),
}


# Somebody else on this host, who starts a program again and again, and says in the end how long the slowest took.
SOMEBODY = """
import os, select, time
print(flush=True)
slowest = 0.0
while not slowest or not select.select([0], [], [], 0.01)[0]:
    began = time.monotonic()
    os.waitpid(os.posix_spawn("/usr/bin/true", ["true"], {}), 0)
    slowest = max(slowest, time.monotonic() - began)
print(slowest)
"""


@pytest.mark.parametrize("limit", HOSTILE)
def test_the_host_stays_responsive(runner: Runner, grouped, limit: str) -> None:
    """Nobody is kept waiting while a hostile tree runs into a limit."""
    limits = limited(memory_bytes=128 * MIB, pids=100, cpu_time_s=3, output_size_bytes=100 * MIB)
    with subprocess.Popen([PYTHON, "-c", SOMEBODY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as somebody:
        somebody.stdout.readline()
        report = runner.command(*HOSTILE[limit], policy=policy(limits=limits), transform=grouped)
        slowest_s = float(somebody.communicate()[0])
    assert report.outcome == limit
    assert slowest_s < 1 + slack_s()


def test_open_files(runner: Runner, backend) -> None:
    code = "kept = [open('/dev/null') for _ in range(100)]"
    report = runner.command(PYTHON, "-c", code, policy=policy(limits=limited(open_files=64)), transform=backend)
    assert b"Too many open files" in report.stderr


def test_no_core_and_no_way_to_raise_a_limit(runner: Runner, backend) -> None:
    code = (
        "import resource as r\n"
        "print(r.getrlimit(r.RLIMIT_CORE))\n"
        "try: r.setrlimit(r.RLIMIT_NOFILE, (9999, 9999)); print('raised')\n"
        "except (ValueError, OSError): print('refused')\n"
        "print([n for n in ('CPU', 'FSIZE', 'NOFILE', 'NPROC', 'CORE') if -1 in r.getrlimit(getattr(r, 'RLIMIT_' + n))])"
    )
    report = runner.command(PYTHON, "-c", code, transform=backend)
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    core = 0 if hard == 0 else 1
    assert report.stdout == f"({core}, {core})\nrefused\n[]\n".encode()


def test_the_core_limit_cannot_even_be_lowered(runner: Runner) -> None:
    """At 0 a piped core_pattern would run its handler, as root of the host, on what the script left."""
    code = "import resource as r\ntry: r.setrlimit(r.RLIMIT_CORE, (0, 0)); print('lowered')\nexcept (OSError, ValueError): print('refused')"
    report = runner.command(PYTHON, "-c", code)
    assert report.stdout == b"refused\n"
    assert "prlimit64" in {violation.name for violation in report.ending.violations}


def test_usage_of_a_known_tree_is_within_ten_percent(runner: Runner, backend) -> None:
    """Two children of 60 MiB that burn 1.5 s of CPU each: three processes, whose CPU time they report themselves."""
    code = (
        "import os, time\n"
        "kids = []\n"
        "for _ in range(2):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        kept = bytearray(b'x') * (60 << 20)\n"
        "        while time.process_time() < 1.5: pass\n"
        "        time.sleep(0.3); os._exit(0)\n"
        "    kids.append(pid)\n"
        "for pid in kids: os.waitpid(pid, 0)\n"
        "print(sum(os.times()[:4]))"
    )
    report = runner.command(PYTHON, "-c", code, transform=backend)
    ending = report.ending
    assert ending.outcome == "ok"
    assert ending.cpu_user_s + ending.cpu_system_s == pytest.approx(float(report.stdout), rel=0.1)
    assert ending.memory_peak_bytes == pytest.approx(125 * MIB, rel=0.1)
    assert ending.pids_peak == 3


_HIDING = {
    "memory files of a process that is not dumpable": "import ctypes; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n",
    "memory files in flight": "import socket\npairs = [socket.socketpair() for _ in range(4)]\n",
}


@pytest.mark.parametrize("how", _HIDING)
def test_there_are_no_memory_files_to_hide_from_a_poll(runner: Runner, how: str) -> None:
    code = (
        _HIDING[how] + "import os, time\n"
        "for number in range(4):\n"
        "    handle = os.memfd_create('x', 8); os.write(handle, bytes(32 << 20))\n"
        "    if 'pairs' in globals(): socket.send_fds(pairs[number][0], [b'x'], [handle]); os.close(handle)\n"
        "time.sleep(0.5); print('held')"
    )
    report = runner.command(
        PYTHON, "-c", code, policy=policy(limits=limited(memory_bytes=64 * MIB)), transform=by("none")
    )
    assert (report.outcome, report.stdout) == ("failed", b"")
    assert b"Function not implemented" in report.stderr


def test_a_descriptor_with_an_endless_path_is_no_matter(runner: Runner) -> None:
    code = (
        "import os, time\n"
        "for _ in range(20): os.mkdir('d' * 250); os.chdir('d' * 250)\n"
        "held = open('x', 'w'); time.sleep(0.3); print('survived')"
    )
    report = runner.command(PYTHON, "-c", code, transform=by("none"))
    assert (report.outcome, report.stdout) == ("ok", b"survived\n")


def test_a_poll_cannot_be_made_slow(runner: Runner) -> None:
    """Children with tens of thousands of mappings, then one that takes memory: seen at once."""
    code = (
        "import ctypes, mmap, os, time\n"
        "l = ctypes.CDLL(None); l.mmap.restype = ctypes.c_void_p\n"
        "l.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]\n"
        "def split():\n"
        "    start = l.mmap(None, ctypes.c_size_t(60000 * 4096), 3, 0x22, -1, 0)\n"
        "    for page in range(0, 60000, 2): l.mprotect(start + page * 4096, 4096, 1)\n"
        "split()\n"
        "for _ in range(24):\n"
        "    if os.fork() == 0: time.sleep(60)\n"
        "taken = mmap.mmap(-1, 400 << 20)\n"
        "began = time.monotonic()\n"
        "for page in range(0, 400 << 20, 4096):\n"
        "    taken[page] = 1\n"
        "    if page % (1 << 20) == 0: os.write(1, b'%d\\n' % (page >> 20)); time.sleep(0.005)\n"
        "print('all')"
    )
    chosen = policy(limits=limited(memory_bytes=128 * MIB))
    report = runner.command(PYTHON, "-c", code, policy=chosen, transform=by("none"))
    assert report.outcome == "memory"
    assert int(report.stdout.split()[-1]) < 200


def test_without_cgroup_refuse_stops_the_run(runner: Runner) -> None:
    with pytest.raises(HiveboxError, match="cannot limit memory, processes and CPU time by cgroup"):
        runner.command("true", policy=policy(limits=LIMITS._replace(without_cgroup="refuse")), transform=by("none"))


def test_the_report_says_which_way_was_taken(runner: Runner, grouped) -> None:
    facts = runner.command("true", transform=grouped).controls["cgroup"]
    assert facts["backend"] in {"cgroup-v1", "cgroup-v2", "systemd"}
    assert facts["group"].startswith("/sys/fs/cgroup/")


def test_the_record_says_what_was_enforced(runner: Runner, backend, hivebox) -> None:
    limits = limited(memory_bytes=777 * MIB, wall_time_s=17.0, cpu_time_s=7.0, output_size_bytes=5 * MIB, pids=33)
    report = runner.command("true", policy=policy(limits=limits), transform=backend)
    shown = json.loads(hivebox("audit", "show", report.run_id, "--json").stdout)
    started, finished = (record["statement"]["predicate"] for record in shown["records"])
    controls = started["controls"]
    assert controls == report.controls
    group = controls["cgroup"]
    assert (group["memory_bytes"], group["cpu_time_s"], group["pids"]) == (777 * MIB, 7.0, 33)
    assert controls["wall_time"]["wall_time_s"] == 17.0
    assert controls["streams"]["output_size_bytes"] == 5 * MIB
    assert group["enforced"] is finished["enforced"]["cgroup"] is not is_polled(report)
    if is_polled(report):
        assert group["reason"]


def test_a_polled_limit_is_one_remark(runner: Runner) -> None:
    code = "kept = []\nwhile True: kept.append(bytearray(1 << 20))"
    chosen = policy(limits=limited(memory_bytes=64 * MIB))
    lines = remarks(runner.command(PYTHON, "-c", code, policy=chosen, transform=by("none")), chosen)
    assert [line.partition(" (")[0] for line in lines] == ["stopped: memory limit of 64 MiB reached"]
    assert "polled, as there is no control group" in lines[0]


@pytest.mark.root
def test_no_run_where_the_sandbox_cannot_have_its_share() -> None:
    """A service with ProtectKernelTunables, a container: nothing would bound what the kernel counts by user."""
    cover = 'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", cover, "sh", sys.executable, "-m", "hivebox", "run", "--", "true"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 125
    assert b"/proc/sys/user/max_user_namespaces: read-only file system (EROFS)" in done.stderr


def test_a_process_that_one_look_misses_is_not_counted_twice() -> None:
    """The kernel's list of a process's children may leave one out; what it has used was taken for that of a dead one."""
    with subprocess.Popen([PYTHON, "-c", "while True: pass"]) as burner:
        try:
            assert wait_for(lambda: int(stat(burner.pid)[11]) >= 50, 30)
            meter = PollMeter(os.getpid(), -1)
            for seen in ({burner.pid: stat(burner.pid)}, {}, {burner.pid: stat(burner.pid)}):
                meter._count_cpu([], seen)
            assert meter.usage().cpu_user_s <= int(stat(burner.pid)[11]) / os.sysconf("SC_CLK_TCK")
        finally:
            burner.kill()
