"""Each way to limit a tree of processes, as a transformation of the plan of a run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hivebox.kernel.cgroup import own_groups
from hivebox.plan.plan import Plan
from hivebox.steps.limits import CgroupStep
from tests.harness import no_cgroup

Transform = Callable[[Plan], Plan]
HAS_V1 = all(name in own_groups() for name in ("memory", "pids", "cpuacct"))


class NoCgroup(CgroupStep):
    """A host on which no group can be made: what an undelegated user meets."""

    def prepare(self) -> None:
        self.refused = "test"


def polled(plan: Plan) -> Plan:
    """Every step refers to the plan's own cgroup step, so it changes its kind rather than being replaced."""
    plan.cgroup.__class__ = NoCgroup
    return plan


def by(way: str) -> Transform:
    """One way alone."""

    def transform(plan: Plan) -> Plan:
        plan.cgroup.ways = (way,)
        return plan

    return transform


def skip_without(way: str) -> None:
    """A host has its controllers in v1 or in v2, so it has one half of the ways at most."""
    if (way == "v1") is not HAS_V1:
        pytest.skip(f"this host has no cgroup {'v1 hierarchies' if way == 'v1' else 'v2 controllers'}")
    why = no_cgroup((way,))
    if why:
        pytest.skip(f"needs root or delegated control groups: {why}")


@pytest.fixture(params=["v1", "v2", "systemd", "poll"])
def backend(request: pytest.FixtureRequest) -> Transform:
    """Every way that this host has."""
    if request.param == "poll":
        return polled
    skip_without(request.param)
    return by(request.param)


@pytest.fixture(params=["v1", "v2", "systemd"])
def grouped(request: pytest.FixtureRequest) -> Transform:
    """Every control group that this host has."""
    skip_without(request.param)
    return by(request.param)
