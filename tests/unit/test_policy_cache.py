"""The compiled copy of a profile is used exactly as long as everything it came from is as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hivebox.errors import ProfileError
from hivebox.policy import load, profile
from hivebox.policy.load import load_policy, policy_sha256
from hivebox.policy.model import Limits
from tests.unit.policy_case import Home


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that were parsed rather than taken from the cache."""
    seen: list[str] = []
    compile_profile = profile.compile_profile

    def noting(wanted: str) -> profile.Compiled:
        seen.append(wanted)
        return compile_profile(wanted)

    monkeypatch.setattr(profile, "compile_profile", noting)
    return seen


def cache_file(home: Home) -> Path:
    (path,) = (home.state / "cache" / "policy").glob("*.json")
    return path


def test_the_second_load_parses_nothing_and_is_equal(home: Home, parses: list[str]) -> None:
    home.profile("mine", "extends: default\nlimits: {pids: 5}\n")
    first = load_policy("mine")
    assert load_policy("mine") == first
    assert parses == ["mine"]
    assert first[0].limits.pids == 5


def test_the_cache_is_private(home: Home) -> None:
    home.load("default")
    assert cache_file(home).stat().st_mode & 0o777 == 0o600
    assert cache_file(home).parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(cache_file(home).parent) == [cache_file(home).name]  # no temporary file is left


def test_a_changed_profile_counts_at_once_whatever_its_time_stamp(home: Home) -> None:
    path = home.profile("mine", "limits: {pids: 5}\n")
    stamp = path.stat()
    assert home.load("mine").limits.pids == 5
    path.write_text("limits: {pids: 6}\n")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert home.load("mine").limits.pids == 6


def test_a_changed_extended_profile_counts(home: Home) -> None:
    home.profile("lower", "limits: {pids: 5}\n")
    home.profile("mine", "extends: lower\n")
    assert home.load("mine").limits.pids == 5
    home.profile("lower", "limits: {pids: 7}\n")
    assert home.load("mine").limits.pids == 7


def test_a_profile_that_comes_earlier_in_the_search_counts(home: Home) -> None:
    home.profile("mine", "limits: {pids: 5}\n", where="system")
    assert home.load("mine").limits.pids == 5
    home.profile("mine", "limits: {pids: 6}\n", where="user")
    assert home.load("mine").limits.pids == 6
    home.profile("mine", "limits: {pids: 7}\n", where="chosen")
    assert home.load("mine").limits.pids == 7


@pytest.mark.parametrize("name", ["security_policy.yml", "security_policy.yaml"])
@pytest.mark.parametrize("where", ["system", "user", "chosen"])
def test_a_new_security_policy_counts(home: Home, where: str, name: str) -> None:
    home.profile("mine", "limits: {pids: 5}\n")
    home.load("mine")
    home.security("limits: {pids: 4}\n", where, name)
    with pytest.raises(ProfileError):
        home.load("mine")


def test_a_removed_profile_is_gone(home: Home) -> None:
    path = home.profile("mine", "limits: {pids: 5}\n")
    home.load("mine")
    path.unlink()
    with pytest.raises(ProfileError, match="no such profile"):
        home.load("mine")


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"policy": {}, "sources": [], "sha256": ""}',
        b"[" * 100_000,
    ],
)
def test_a_corrupt_cache_is_rebuilt(home: Home, parses: list[str], damage: bytes) -> None:
    policy = home.load("default")
    cache_file(home).write_bytes(damage)
    assert home.load("default") == policy
    assert parses == ["default", "default"]
    assert home.load("default") == policy
    assert len(parses) == 2


def test_a_cache_with_one_changed_value_is_not_believed(home: Home) -> None:
    policy = home.load("default")
    cached = json.loads(cache_file(home).read_text())
    cached["policy"]["limits"]["pids"] = 4096
    cache_file(home).write_text(json.dumps(cached))
    assert home.load("default") == policy


def test_a_cache_without_sources_is_not_believed(home: Home) -> None:
    home.profile("mine", "limits: {pids: 5}\n")
    home.load("mine")
    cached = json.loads(cache_file(home).read_text())
    cached["sources"] = []
    cache_file(home).write_text(json.dumps(cached))
    home.profile("mine", "limits: {pids: 6}\n")
    assert home.load("mine").limits.pids == 6


def test_a_state_directory_that_cannot_be_written_is_no_error(home: Home) -> None:
    home.state.write_text("a file where the directory should be")
    assert home.load("default").name == "default"


def test_relative_and_absolute_paths_are_one_profile(
    home: Home, parses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home.profile("mine", "limits: {pids: 5}\n")
    monkeypatch.chdir(path.parent)
    assert load_policy("mine.yaml") == load_policy(str(path)) == load_policy("./mine.yaml")
    assert len(parses) == 1


def test_the_digest_is_of_the_whole_policy(home: Home) -> None:
    policy = home.load("default")
    digests = {policy_sha256(policy)}
    for field, value in Limits()._asdict().items():
        other = value + 1 if not isinstance(value, str) else value + "x"
        digests.add(policy_sha256(policy._replace(limits=Limits(**{**policy.limits._asdict(), field: other}))))
    assert len(digests) == 1 + len(Limits._fields)
    assert policy_sha256(policy) == policy_sha256(home.load("default"))


def test_the_cached_path_imports_no_parser(home: Home) -> None:
    """In a process of its own: this one has imported everything."""
    code = "import sys; from hivebox.policy.load import load_policy; load_policy('default'); print('yaml' in sys.modules, 'msgspec' in sys.modules)"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert runs == ["True True\n", "False False\n"]


def test_a_cached_grant_is_refused_when_the_key_has_moved_there(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache knows the files that it came from, not where the state directory is now."""
    keys = home.base / "later"
    home.profile("mine", f"filesystem: {{read_only: [{keys}]}}\n")
    home.load("mine")
    keys.mkdir()
    (home.state / "cache").rename(keys / "cache")
    monkeypatch.setenv("HIVEBOX_STATE", str(keys))
    with pytest.raises(ProfileError, match="keys, records"):
        home.load("mine")


def test_every_source_is_listed(home: Home) -> None:
    path = home.profile("mine", "extends: default\n")
    _policy, sources = load_policy("mine")
    by_path = {source.path: source.sha256 for source in sources}
    assert by_path[str(path)]
    assert by_path[str(home.system / "security_policy.yml")] == ""
    assert by_path[str(home.chosen / "profiles" / "default.yaml")] == ""
    assert sum(bool(digest) for digest in by_path.values()) == 2
    assert load.load_policy("mine")[1] == sources
