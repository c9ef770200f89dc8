"""The predecessor's policy file: every key is accounted for, and nothing is granted that cannot be enforced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hivebox.errors import ProfileError
from hivebox.policy.importer import HOLDS, MAPPED, NOT_MAPPED, Imported, Row, import_policy
from hivebox.policy.model import Mount
from tests.unit.policy_case import Home

VECTORS = Path(__file__).parent.parent / "vectors" / "profiles" / "import"
# Every key of the predecessor's format, and what becomes of it.
KEYS = {
    "execution.timeout_seconds": MAPPED,
    "execution.cpu_seconds": MAPPED,
    "execution.memory_mb": MAPPED,
    "execution.file_size_mb": MAPPED,
    "execution.max_processes": MAPPED,
    "filesystem.allowed_paths": MAPPED,
    "filesystem.blocked_operations": HOLDS,
    "network.allowed_domains": NOT_MAPPED,
    "network.blocked_ports": HOLDS,
    "monitoring.log_level": NOT_MAPPED,
    "monitoring.max_stderr_length": NOT_MAPPED,
    "monitoring.alert_thresholds.cpu_usage": NOT_MAPPED,
    "monitoring.alert_thresholds.memory_usage": NOT_MAPPED,
    "monitoring.alert_thresholds.execution_time": NOT_MAPPED,
    "monitoring.security_events": NOT_MAPPED,
    "static_analysis.dangerous_modules": NOT_MAPPED,
    "static_analysis.dangerous_functions": NOT_MAPPED,
    "static_analysis.dangerous_methods": NOT_MAPPED,
}


def imported(name: str) -> Imported:
    return import_policy(name, (VECTORS / name).read_bytes())


def rows_of(result: Imported, key: str) -> list[Row]:
    return [row for row in result.rows if row.key == key or row.key.startswith((key + "[", key + "."))]


@pytest.mark.parametrize("name", ["wrapped", "flat"])
def test_the_profile(name: str) -> None:
    expected = VECTORS / f"{name}.expected"
    text = imported(f"{name}.yaml").profile
    if os.environ.get("HIVEBOX_UPDATE"):
        expected.write_text(text)
    assert text == expected.read_text()


@pytest.mark.parametrize("key", KEYS)
def test_every_key_has_its_verdict_and_a_reason(key: str) -> None:
    rows = rows_of(imported("wrapped.yaml"), key)
    assert rows
    assert KEYS[key] in {row.verdict for row in rows}
    for row in rows:
        assert row.reason
        assert bool(row.target) == (row.verdict == MAPPED)


def test_the_policy_it_makes(home: Home) -> None:
    path = home.profile("old", imported("wrapped.yaml").profile)
    policy = home.load(str(path))
    limits = policy.limits
    assert (limits.wall_time_s, limits.cpu_time_s, limits.memory_bytes) == (30.0, 12.5, 256 << 20)
    assert (limits.file_size_bytes, limits.pids) == (10 << 20, 5)
    assert policy.filesystem.mounts == (Mount("/srv/ballots", "/srv/ballots", "read_only"),)
    assert policy.network.mode == "none"
    assert policy.syscalls == home.load("default").syscalls


def test_allowed_domains_are_not_granted_and_it_is_said() -> None:
    result = imported("wrapped.yaml")
    rows = rows_of(result, "network.allowed_domains")
    assert [row.value for row in rows] == ["api.example.org", "*.example.com"]
    assert all("NOT granted" in row.reason for row in rows)
    assert result.profile.count("NOT granted") == 2


def test_values_that_mean_no_limit_leave_the_default(home: Home) -> None:
    result = imported("flat.yaml")
    for key in ("cpu_seconds", "memory_mb", "max_processes"):
        assert [row.verdict for row in rows_of(result, f"execution.{key}")] == [NOT_MAPPED]
    policy = home.load(str(home.profile("old", result.profile)))
    assert policy.limits == home.load("default").limits._replace(wall_time_s=7.0)


def test_what_is_there_twice_counts_once(home: Home) -> None:
    old = b"""\
security: {execution: {timeout_seconds: 7, memory_mb: 64}, filesystem: {allowed_paths: [/srv/a, /srv/a/]}}
execution: {timeout_seconds: 8}
"""
    result = import_policy("old.yaml", old)
    policy = home.load(str(home.profile("old", result.profile)))
    assert policy.limits.wall_time_s == 7.0
    assert policy.filesystem.mounts == (Mount("/srv/a", "/srv/a", "read_only"),)
    assert [row.value for row in result.rows if "from an earlier key" in row.reason] == ["/srv/a/", "8"]


def test_unknown_keys_are_named_with_the_nearest() -> None:
    (row,) = rows_of(imported("flat.yaml"), "exectuion")
    assert row.verdict == NOT_MAPPED
    assert "did the file mean execution.timeout_seconds?" in row.reason


def test_no_text_of_the_old_file_becomes_a_line_of_the_profile(home: Home) -> None:
    """Keys and values go into comments: a line end in one would add a grant of the author's choice."""
    result = imported("flat.yaml")
    policy = home.load(str(home.profile("old", result.profile)))
    assert policy.filesystem.mounts == (Mount("/srv/a", "/srv/a", "read_only"),)


@pytest.mark.parametrize(
    "path", ["/", "/proc", "/sys/fs", "/dev", "/work", "/etc/../root", "a", "~/x", "/a*", "/a:/b", "", "/a\nb"]
)
def test_paths_that_are_never_mapped(path: str) -> None:
    import json

    result = import_policy("old.json", json.dumps({"filesystem": {"allowed_paths": [path]}}).encode())
    assert [row.verdict for row in result.rows] == [NOT_MAPPED]
    assert "read_only" not in result.profile.split("# Not carried over")[0]


@pytest.mark.parametrize("path", ["/tmp", "/tmp/", "/var/tmp", "/dev/shm"])
def test_temporary_directories_are_the_sandboxs_own(path: str) -> None:
    (row,) = import_policy("old.yaml", f"filesystem: {{allowed_paths: [{path}]}}".encode()).rows
    assert row.verdict == HOLDS


@pytest.mark.parametrize("content", [b"\xff", b"a: [", b"", b"a: *b", b"a: 1\n\tb: 2"])
def test_what_is_not_yaml_is_an_error_with_its_place(content: bytes) -> None:
    with pytest.raises(ProfileError, match=r"old\.yaml:\d+:\d+"):
        import_policy("old.yaml", content)


@pytest.mark.parametrize("content", [b"[]", b"extends: default\nlimits: {pids: 3}\n", b"just text\n", b"a,b\n1,2\n"])
def test_a_file_with_nothing_of_the_format_is_an_error(content: bytes) -> None:
    with pytest.raises(ProfileError, match="not the predecessor's policy file"):
        import_policy("x.yml", content)
