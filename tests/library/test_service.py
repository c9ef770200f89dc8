"""The service's process: whom it outlives, what it knows, how it is begun again."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import hivebox
from hivebox.audit import history, keys, segments
from hivebox.kernel.pid import start_time, stat
from hivebox.service import client
from tests.harness import wait_for

ROOT = Path(__file__).parent.parent.parent


def named(name: str, parent: int) -> list[int]:
    """The live processes of this name that ``parent`` started."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit() or (entry / "comm").read_text().strip() != name:
                continue
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(entry.name)
        if start_time(pid) and stat(pid)[1:2] == [b"%d" % parent]:
            found.append(pid)
    return found


def service() -> int:
    (pid,) = named("hivebox-service", os.getpid())
    return pid


def recorder() -> int:
    (pid,) = named("hivebox-record", service())
    return pid


def kill(pid: int) -> None:
    """And wait until it is a zombie: its sockets are closed then."""
    os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: stat(pid)[0] == b"Z", 20)


def test_one_service_for_all_runs() -> None:
    hivebox.run(code="pass")
    first = service()
    hivebox.run(code="pass")
    assert service() == first
    client.end()
    assert not named("hivebox-service", os.getpid())


def test_it_is_started_again_when_it_died() -> None:
    hivebox.run(code="pass")
    kill(service())
    assert hivebox.run(code="print(1)").stdout == b"1\n"


def test_a_run_whose_service_died_is_an_error_and_aborted() -> None:
    marker = str(time.time_ns())
    hivebox.run(code="pass")
    killer = subprocess.Popen(["sh", "-c", f"sleep 2; kill -9 {service()}"])
    with pytest.raises(hivebox.HiveboxError, match="supervisor died"):
        hivebox.run(["python3", "-c", f"import time; time.sleep(60)  # {marker}"])
    killer.wait()
    hivebox.run(code="pass")
    lines = segments.read_lines(os.path.join(os.environ["HIVEBOX_STATE"], "audit"))
    records = [entry.record for entry in history.entries(lines)]
    (run_id,) = (record.run_id for record in records if record.event == "started" and marker in str(record.predicate))
    assert [record.event for record in records if record.run_id == run_id] == ["started", "aborted"]


def test_a_recorder_that_died_is_started_again() -> None:
    hivebox.run(code="pass")
    before = recorder()
    kill(before)
    assert hivebox.run(code="print(1)").stdout == b"1\n"
    assert recorder() != before


def test_a_run_that_cannot_be_recorded_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVEBOX_STATE", str(tmp_path / "state"))
    assert hivebox.run(code="print(1)").stdout == b"1\n", "another state is another service"
    (tmp_path / "state" / "audit" / "ledger.jsonl").unlink()
    (tmp_path / "state" / "audit" / "ledger.jsonl").mkdir()
    with pytest.raises(hivebox.HiveboxError, match="audit"):
        hivebox.run(code=f"open('{tmp_path}/ran', 'w')")
    client.end()


DAEMON = """
import hivebox, threading, time
run = lambda: hivebox.run(["python3", "-c", "import time; time.sleep(60)", MARKER])
threading.Thread(target=run, daemon=True).start()
time.sleep(3)
"""


def test_a_caller_that_exits_does_not_wait_for_what_nobody_waits_for() -> None:
    marker = f"daemon-{time.time_ns()}"
    began = time.monotonic()
    command = [sys.executable, "-X", "dev", "-c", DAEMON.replace("MARKER", repr(marker))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert time.monotonic() - began < 40
    assert b"Warning" not in done.stderr
    assert not payloads(marker)


CALLER = """
import hivebox, sys, threading
for number in range(3):
    threading.Thread(target=lambda: hivebox.run(["python3", "-c", "import time; time.sleep(60)", MARKER])).start()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_everything_ends_with_the_caller(number: int) -> None:
    marker = f"caller-{time.time_ns()}"
    with subprocess.Popen([sys.executable, "-c", CALLER.replace("MARKER", repr(marker))], cwd=ROOT) as caller:
        assert wait_for(lambda: len(payloads(marker)) == 3, 20)
        (theirs,) = named("hivebox-service", caller.pid)
        caller.send_signal(number)
    assert wait_for(lambda: not payloads(marker), 20)
    assert wait_for(lambda: not Path(f"/proc/{theirs}").exists(), 20)


def payloads(marker: str) -> list[str]:
    """Processes with ``marker`` among their arguments and a program of the sandbox."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except (FileNotFoundError, ProcessLookupError):
            continue
        if marker.encode() in words:
            found.append(entry.name)
    return found


def test_an_interrupt_ends_the_run() -> None:
    code = """
        import hivebox, os, signal, threading
        hivebox.run(code="pass")
        threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            hivebox.run(code="import time; time.sleep(60)")
        except KeyboardInterrupt:
            print(hivebox.run(code="print('next')").stdout)
    """
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout == b"b'next\\n'\n"
    assert time.monotonic() - began < 40


def test_a_forked_caller_has_a_service_of_its_own() -> None:
    hivebox.run(code="pass")
    before = service()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            other = hivebox.run(code="print(1)").stdout == b"1\n" and service() != before
            client.end()
            status = 0 if other else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert hivebox.run(code="print(1)").stdout == b"1\n"
    assert service() == before


def test_the_key_is_in_the_recorder_alone() -> None:
    """Neither the service nor an init, which is a copy of it, has the key in its memory; the recorder does, so that the
    search is known to find it."""
    marker = f"key-{time.time_ns()}"
    task = subprocess.Popen(
        [sys.executable, "-c", CALLER.replace("MARKER", repr(marker)).replace("range(3)", "range(1)")], cwd=ROOT
    )
    try:
        assert wait_for(lambda: len(payloads(marker)) == 1, 20)
        (theirs,) = named("hivebox-service", task.pid)
        (records,) = named("hivebox-record", theirs)
        (init,) = named("hivebox-init", theirs)
        seed = private_seed()
        assert holds(records, seed)
        assert not holds(theirs, seed)
        if os.geteuid() == 0:  # an ordinary user may not even look
            assert not holds(init, seed)
    finally:
        task.kill()
        task.wait()
    assert wait_for(lambda: not Path(f"/proc/{theirs}").exists(), 20)


def private_seed() -> bytes:
    """The 32 bytes that a PKCS #8 document of an Ed25519 key ends in (RFC 8410)."""
    (path,) = Path(os.environ["HIVEBOX_STATE"]).rglob(keys.PRIVATE_NAME)
    return base64.b64decode("".join(path.read_text().splitlines()[1:-1]))[-32:]


def holds(pid: int, secret: bytes) -> bool:
    """Whether ``secret`` is anywhere in the writable memory of the process."""
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, mode = line.split()[:2]
            if mode.startswith("rw"):
                start, end = (int(part, 16) for part in span.split("-"))
                memory.seek(start)
                if secret in memory.read(end - start):
                    return True
    return False
