"""hivebox.run and hivebox.run_async: what goes in and what comes out."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import hivebox
from hivebox.audit import history, segments
from hivebox.service import client


def python(code: str, **options: object) -> hivebox.Report:
    return hivebox.run(code=code, **options)  # type: ignore[arg-type]


def test_a_command() -> None:
    report = hivebox.run(["python3", "-c", "import sys; print(1); print(2, file=sys.stderr); sys.exit(3)"])
    assert (report.outcome, report.exit_code, report.stdout, report.stderr) == ("failed", 3, b"1\n", b"2\n")
    assert report.argv[0] == "python3"


def test_code_with_arguments() -> None:
    report = python("import sys; print(sys.argv[1:], __name__, __file__)", arguments=["a", "b c"])
    assert report.stdout == b"['a', 'b c'] __main__ /script/main.py\n"


def test_a_script_is_found_from_where_the_caller_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job.py").write_text("print('here')")
    monkeypatch.chdir(tmp_path)
    assert hivebox.run(script="job.py").stdout == b"here\n"
    assert hivebox.run(script=Path("job.py")).stdout == b"here\n"


@pytest.mark.parametrize("given", ["text", b"text"])
def test_stdin_as_bytes_or_text(given: str | bytes) -> None:
    assert python("import sys; print(sys.stdin.read().upper())", stdin=given).stdout == b"TEXT\n"


def test_stdin_is_empty_by_default() -> None:
    assert python("import sys; print(repr(sys.stdin.read()))").stdout == b"''\n"


def test_streams_to_files(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("x")
    with open(tmp_path / "in") as source, open(tmp_path / "out", "w") as sink:
        sink.write("before ")  # still in the file object's buffer
        report = python("import sys; print(sys.stdin.read())", stdin=source, stdout=sink)
    assert report.stdout is None
    assert report.stderr == b""
    assert (tmp_path / "out").read_text() == "before x\n"


def test_output_of_megabytes_in_one_piece() -> None:
    report = python("import sys; sys.stdout.write('0123456789' * 500_000); sys.stderr.write('e' * 300_000)")
    assert report.stdout == b"0123456789" * 500_000
    assert report.stderr == b"e" * 300_000


def test_limits_and_their_names() -> None:
    began = time.monotonic()
    report = python("while True: pass", timeout_s=0.5)
    assert (report.outcome, report.exit_code) == ("timeout", 124)
    assert time.monotonic() - began < 20
    assert python("x = bytearray(300 << 20)", memory_bytes=64 << 20).outcome in ("memory", "failed")
    assert python("print('x' * 10_000)", output_size_bytes=100).outcome == "output"


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os; print(os.environ.get('GIVEN'), os.environ.get('PASSED'), os.environ.get('SECRET'))"
    assert python(code).stdout == b"None None None\n", "and the service is there before the variables"
    monkeypatch.setenv("PASSED", "caller's")
    monkeypatch.setenv("SECRET", "not asked for")
    assert python(code, env={"GIVEN": "1"}, pass_env=["PASSED"]).stdout == b"1 caller's None\n"


def test_grants_and_outputs(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("granted")
    (tmp_path / "out").mkdir()
    code = "open('result', 'w').write(open('/there/file').read())"
    report = python(code, ro=[(tmp_path / "data", "/there")], out=tmp_path / "out")
    assert [output.path for output in report.files] == ["result"]
    assert (tmp_path / "out" / "result").read_text() == "granted"


def test_a_refused_call_is_reported() -> None:
    report = python("import os; os.chroot('/')")
    assert [violation.name for violation in report.ending.violations]


def test_errors_are_hiveboxs_own(tmp_path: Path) -> None:
    with pytest.raises(hivebox.HiveboxError, match="nosuch"):
        python("pass", profile="nosuch")
    with pytest.raises(hivebox.HiveboxError, match="cannot read the script"):
        hivebox.run(script=tmp_path / "nosuch.py")
    with pytest.raises(hivebox.HiveboxError, match="cannot run nosuch") as caught:
        hivebox.run(["nosuch"])
    assert caught.value.exit_code == 127
    with pytest.raises(hivebox.HiveboxError, match="limits"):
        python("pass", memory_bytes=-1)
    assert python("print(1)").stdout == b"1\n", "one run's error is not the next one's"


@pytest.mark.parametrize(
    "options",
    [{}, {"script": "a.py", "code": "b"}, {"code": "pass", "memory": 5}, {"code": "pass", "timeout": 1}],
)
def test_calls_that_make_no_sense(options: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        hivebox.run(**options)  # type: ignore[arg-type]


def test_a_command_is_not_a_shell_line() -> None:
    with pytest.raises(TypeError, match="list of words"):
        hivebox.run("python3 -c pass")


def test_threads() -> None:
    """Twenty at once, each with its own answer, in one ledger that verifies."""
    answers: dict[int, bytes | None] = {}

    def one(number: int) -> None:
        answers[number] = python(f"import time; time.sleep(0.2); print({number})").stdout

    threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: f"{number}\n".encode() for number in range(20)}
    subprocess.run([sys.executable, "-m", "hivebox", "audit", "verify"], check=True, stdout=subprocess.DEVNULL)


def test_async_runs_are_at_once() -> None:
    async def all_of_them() -> list[hivebox.Report]:
        code = "import time; time.sleep(1); print(1)"
        return await asyncio.gather(*(hivebox.run_async(code=code) for _ in range(10)))

    python("pass")  # the service and the root are there
    began = time.monotonic()
    reports = asyncio.run(all_of_them())
    assert [report.stdout for report in reports] == [b"1\n"] * 10
    assert time.monotonic() - began < 9, "one after the other would be more than ten seconds"


def test_the_event_loop_goes_on_meanwhile() -> None:
    async def both() -> int:
        ticks = 0
        run = asyncio.ensure_future(hivebox.run_async(code="import time; time.sleep(0.5)"))
        while not run.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return ticks

    assert asyncio.run(both()) > 10


def test_cancelling_the_task_ends_the_run() -> None:
    async def cancelled() -> None:
        await asyncio.wait_for(hivebox.run_async(code="import time; time.sleep(60)"), 1)

    began = time.monotonic()
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(cancelled())
    client.end()
    assert time.monotonic() - began < 30
    assert "whoever asked for the run is gone" in causes()


def causes() -> list[str]:
    """What ended the runs that are in the ledger."""
    lines = segments.read_lines(os.path.join(os.environ["HIVEBOX_STATE"], "audit"))
    results = [entry.record.predicate.get("result") for entry in history.entries(lines)]
    return [result["cause"]["text"] for result in results if result and result.get("cause")]
