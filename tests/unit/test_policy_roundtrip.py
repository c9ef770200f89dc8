"""Properties across parts: what is shown reads back, what is imported grants no more, no view fails on a valid policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hivebox.errors import ProfileError
from hivebox.policy.check import check
from hivebox.policy.explain import explain
from hivebox.policy.importer import import_policy
from hivebox.policy.load import load_policy
from hivebox.policy.model import Policy
from hivebox.policy.profile import compile_profile
from hivebox.policy.show import to_yaml
from hivebox.policy.syscall_groups import GROUPS
from tests.unit.policy_case import Home

SHIPPED = Path(__file__).parent.parent.parent / "profiles"
FUZZ = settings(max_examples=80, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def answer(path: Path) -> Policy | ProfileError:
    """Anything else than these two fails the test."""
    try:
        return load_policy(str(path))[0]
    except ProfileError as error:
        return error


PRINTABLE = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), max_size=12)
GRANTS = st.sampled_from(["/srv/a", "/srv/b", "/opt/ä b", "/x#y", "/srv/a:/c", "/q:/d d", "/s #t:/d", "/'\"", "/😀"])
VALID = st.fixed_dictionaries(
    {},
    optional={
        "description": PRINTABLE,
        "filesystem": st.fixed_dictionaries(
            {}, optional={"overlay": st.lists(GRANTS, max_size=1), "work_exec": st.booleans()}
        ),
        "syscalls": st.fixed_dictionaries(
            {},
            optional={
                "groups": st.lists(st.sampled_from(sorted(GROUPS))),
                "allow": st.lists(st.sampled_from(["bpf", "ptrace"])),
                "deny": st.lists(st.sampled_from(["kill", "read"])),
                "kill_after": st.integers(1, 1000),
            },
        ),
        "limits": st.fixed_dictionaries(
            {},
            optional={
                "wall_time": st.floats(0.001, 1e8),
                "cpu_time": st.integers(1, 10**8),
                "memory": st.integers(1 << 20, 1 << 61),
                "pids": st.integers(1, 1 << 22),
                "cpus": st.floats(0.01, 4096) | st.just("all"),
                "io_read": st.integers(4096, 1 << 40) | st.just("all"),
                "io_write_ops": st.integers(1, 1 << 31) | st.just("all"),
                "without_cgroup": st.sampled_from(["poll", "refuse"]),
            },
        ),
        "environment": st.fixed_dictionaries(
            {},
            optional={
                "set": st.dictionaries(st.sampled_from(["A", "B_1", "null", "on"]), PRINTABLE),
                "pass": st.lists(st.sampled_from(["TZ", "TERM"])),
            },
        ),
        "optional": st.lists(st.just("landlock"), max_size=1),
    },
)


@FUZZ
@given(VALID)
def test_what_is_shown_is_the_same_policy(home: Home, plain: dict[str, Any]) -> None:
    """``profile show`` written to a file and read again. The other views must not fail on it either."""
    path = home.profile("any", yaml.safe_dump(plain, allow_unicode=True))
    compiled = compile_profile(str(path))
    shown = home.profile("shown", to_yaml(compiled.policy, compiled.origins))
    again = compile_profile(str(shown)).policy
    assert again._replace(name=compiled.policy.name) == compiled.policy
    assert explain(compiled.policy, compiled.origins)
    check(compiled.policy)


OLD_KEYS = st.sampled_from(
    ["security", "execution", "filesystem", "network", "monitoring", "static_analysis", "timeout_seconds", "memory_mb",
     "max_processes", "allowed_paths", "allowed_domains", "security_events", "alert_thresholds", "other", "a\nb: c", "#"]
)  # fmt: skip
OLD_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10),
    st.sampled_from(["/srv/a", "/a\nlimits: {}", "*", "/q'\"", "/😀", "\x85", "\u2028", "10"]),
)  # fmt: skip
OLD = st.recursive(
    OLD_LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(OLD_KEYS, inner, max_size=5),
    max_leaves=15,
)


@FUZZ
@given(st.dictionaries(OLD_KEYS, OLD, max_size=4))
def test_any_old_policy_becomes_a_valid_profile_that_grants_no_more(home: Home, plain: dict[str, Any]) -> None:
    """It may narrow numbers and grant paths read-only. Nothing else, whatever is written in its keys and values."""
    try:
        imported = import_policy("old.yaml", yaml.safe_dump(plain, allow_unicode=True).encode("utf-8", "surrogatepass"))
    except ProfileError:
        return
    policy = answer(home.profile("imported", imported.profile))
    assert isinstance(policy, Policy)
    default = load_policy("default")[0]
    assert {mount.mode for mount in policy.filesystem.mounts} <= {"read_only"}
    assert policy.filesystem.work_exec == default.filesystem.work_exec
    for section in ("rootfs", "network", "syscalls", "environment", "outputs", "optional"):
        assert getattr(policy, section) == getattr(default, section)


@FUZZ
@given(st.sampled_from(sorted(path.name for path in SHIPPED.glob("*.yaml"))), st.data())
def test_a_damaged_shipped_profile(home: Home, name: str, data: st.DataObject) -> None:
    """One piece taken out, doubled or replaced, so that most of the file is still right."""
    text = (SHIPPED / name).read_text()
    start = data.draw(st.integers(0, len(text) - 1))
    piece = text[start : start + data.draw(st.integers(1, 12))]
    replacement = data.draw(st.sampled_from(["", piece * 2, "\n", ": ", "-", '"', "\x00", "[", "&a "]))
    answer(home.profile("any", text[:start] + replacement + text[start + len(piece) :]))


BOUND_KEYS = st.sampled_from(
    ["limits", "syscalls", "filesystem", "rootfs", "environment", "required", "pids", "groups", "read_only"]
)
BOUNDS = st.recursive(
    OLD_LEAVES | st.sampled_from(["@base", "python", "/srv"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(BOUND_KEYS, inner, max_size=4),
    max_leaves=8,
)


@FUZZ
@given(BOUNDS)
def test_any_security_policy(home: Home, plain: Any) -> None:
    home.security(yaml.safe_dump(plain, allow_unicode=True))
    answer(SHIPPED / "default.yaml")
