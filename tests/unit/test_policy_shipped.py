"""The profiles that come with hivebox promise little, and keep it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivebox.policy.check import check
from hivebox.policy.load import load_policy
from hivebox.policy.model import Limits
from hivebox.policy.profile import available
from tests.unit.policy_case import Home

SHIPPED = ("default", "governance", "node", "python", "shell", "strict")


def test_every_file_in_profiles_is_one_of_them() -> None:
    files = (Path(__file__).parent.parent.parent / "profiles").glob("*.yaml")
    assert {path.stem for path in files} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_each_says_what_it_is_and_has_nothing_questionable(home: Home, name: str) -> None:
    policy = home.load(name)
    assert policy.description
    assert check(policy) == ()


@pytest.mark.parametrize("name", SHIPPED)
def test_none_grants_a_path_the_network_a_variable_or_execution_of_what_was_written(home: Home, name: str) -> None:
    policy = home.load(name)
    assert policy.filesystem == ((), False)
    assert policy.network.mode == "none"
    assert policy.environment == ((), ())
    assert policy.syscalls.allow == ()


def test_who_may_start_what(home: Home) -> None:
    granted = {name: {*home.load(name).syscalls.groups} for name in SHIPPED}
    assert {name for name in SHIPPED if "@exec" in granted[name]} == {"python", "shell"}
    assert {name for name in SHIPPED if "@process" in granted[name]} == {"python", "shell"}
    assert {name for name in SHIPPED if "@threads" not in granted[name]} == {"strict"}
    assert {name for name in SHIPPED if "@network-local" not in granted[name]} == {"shell", "governance", "strict"}


def test_what_may_be_missing(home: Home) -> None:
    assert {name for name in SHIPPED if home.load(name).optional == ()} == {"governance", "strict"}
    assert {name for name in SHIPPED if home.load(name).limits.without_cgroup == "refuse"} == {"strict"}


@pytest.mark.parametrize("name", ["governance", "strict"])
def test_governance_and_strict_are_within_default(home: Home, name: str) -> None:
    policy, default = home.load(name), home.load("default")
    assert {*policy.syscalls.groups} < {*default.syscalls.groups}
    assert policy.syscalls.kill_after < default.syscalls.kill_after
    for field in Limits._fields:
        if field != "without_cgroup":
            assert getattr(policy.limits, field) <= getattr(default.limits, field), field


def test_strict_depends_on_no_other_profile(home: Home) -> None:
    """A change to `default` must not widen it."""
    home.profile("default", "syscalls: {groups: ['@exec']}\nlimits: {pids: 9999}\n")
    files = [source.path for source in load_policy("strict")[1] if source.sha256]
    assert files == [available()["strict"]]
