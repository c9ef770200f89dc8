"""Shared by all tests: a state directory of their own, the sandbox as a fixture, and the check that nothing is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import Runner, leftovers, purge, slack_s

MUST_RUN = bool(os.environ.get("HIVEBOX_MUST_RUN"))
_STATE = "HIVEBOX_TEST_STATE"


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    os.umask(0o022)  # configuration that a group may write is refused
    if not _is_worker(config):
        os.environ[_STATE] = tempfile.mkdtemp(prefix="hivebox-test-")
        os.environ["HIVEBOX_TEST_BEFORE"] = "\n".join(sorted(leftovers()))
    os.environ["HIVEBOX_STATE"] = os.environ[_STATE]
    os.environ["HIVEBOX_CONFIG"] = os.path.join(os.environ[_STATE], "config")
    os.makedirs(os.environ["HIVEBOX_CONFIG"], exist_ok=True)
    for name in ("VIRTUAL_ENV", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        os.environ.pop(name, None)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """No test leaves a process, mount or cgroup behind: checked once, when every worker has ended."""
    if _is_worker(session.config):
        return
    before = set(os.environ["HIVEBOX_TEST_BEFORE"].splitlines())
    left = leftovers() - before
    purge(Path(os.environ[_STATE]))
    if left:
        sys.stderr.write("\nleft behind by the tests:\n" + "\n".join(sorted(left)) + "\n")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first: the other worker does the rest meanwhile."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Under HIVEBOX_MUST_RUN a skip is a failure, unless it is about who runs the tests (CI runs them as both) or what
    this kind of host never has (others have it)."""
    report = yield
    if MUST_RUN and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(words in reason for words in ("needs root", "needs an ordinary user", "this host has no")):
            report.outcome = "failed"
            report.longrepr = f"skipped under HIVEBOX_MUST_RUN: {reason}"
    return report


@pytest.fixture(autouse=True)
def _by_user(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture
def runner() -> Runner:
    """Runs plans in this process, streams kept."""
    return Runner()


@pytest.fixture
def hivebox() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """``hivebox ARGS...`` as a process of its own."""

    def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "hivebox", *arguments]
        return subprocess.run(
            command, check=False, **{"capture_output": True, "timeout": 120 + 20 * slack_s(), **options}
        )  # type: ignore[call-overload,no-any-return]

    return run


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory outside /tmp's reach of pytest, readable by the run's user whoever that is."""
    path = Path(tempfile.mkdtemp(prefix="hivebox-scratch-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def hivebox_pipe() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """``hivebox run ARGS...`` with pipes, for tests that read slowly, send signals or kill."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*arguments: str, **options: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "hivebox", "run", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, **{**pipes, **options})  # type: ignore[call-overload]
        started.append(process)
        return process  # type: ignore[no-any-return]

    yield run
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
