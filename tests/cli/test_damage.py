"""Files of the state directory that were cut off by a full disk or a power loss: caches are made again, and what cannot
be made again is named with the command that mends it. In processes started as bin/hivebox starts, without `site`: what
reads these files must not rely on a module that happens to be imported."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import purge, slack_s

ROOT = Path(__file__).parents[2]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
_DAMAGE = (b"", b"\0" * 40, b"[]", b"[" * 100_000, b'{"a', b'{"a" 1}')


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("damaged") / "state"
    yield path
    purge(path)


@pytest.fixture(scope="module")
def cold(state: Path) -> Run:
    """``hivebox ARGS...`` on that state, which the first run has filled."""
    paths = [str(ROOT), sysconfig.get_path("purelib")]
    code = f"import sys; sys.path += {paths!r}; from hivebox.cli.main import entry; entry()"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-IS", "-c", code, *arguments],
            env={**os.environ, "HIVEBOX_STATE": str(state)},
            capture_output=True,
            text=True,
            timeout=120 + 20 * slack_s(),
            check=False,
        )

    assert run("run", "--", "true").returncode == 0
    return run


def damages(whole: bytes) -> tuple[bytes, ...]:
    return (*_DAMAGE, whole[:30], whole[: len(whole) // 2])


@pytest.mark.parametrize("pattern", ["cache/policy/*.json", "cache/seccomp/*", "rootfs/index/*.json", "audit/state"])
def test_a_damaged_cache_is_made_again(cold: Run, state: Path, pattern: str) -> None:
    for path in state.glob(pattern):
        whole = path.read_bytes()
        for content in damages(whole):
            path.write_bytes(content)
            done = cold("run", "--", "echo", "there")
            assert (done.returncode, done.stdout, done.stderr) == (0, "there\n", ""), content[:40]
            assert path.read_bytes() != content
    assert list(state.glob(pattern))


def test_damaged_settings_of_the_ledger_are_named_and_mended(cold: Run, state: Path) -> None:
    assert cold("audit", "keep", "--keep-days", "30").returncode == 0
    path = state / "audit/settings.json"
    for content in (*damages(path.read_bytes()), b'{"keep_days": -1}', b'{"keep_days": true}', b'{"colour": 1}'):
        path.write_bytes(content)
        for command in (("run", "--", "true"), ("audit", "keep")):
            done = cold(*command)
            assert (done.returncode, done.stdout) == (125, "")
            what, why, hint = done.stderr.splitlines()
            assert what == "hivebox: cannot read the ledger's settings"
            assert why.startswith("why:  audit/settings.json: ")
            assert "Settings()" not in why
            assert hint.startswith("try:  set them anew: hivebox audit keep --checkpoint-every 1000")
        mended = cold("audit", "keep", "--checkpoint-every", "1000")
        assert mended.returncode == 0
        assert mended.stdout.startswith("what the settings were cannot be read")
        assert cold("run", "--", "true").returncode == 0
