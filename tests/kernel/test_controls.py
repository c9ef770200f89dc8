"""Every control of the design is there for something: removed, it lets an attack through (tests/attacks), or the
documentation says why it cannot be removed or is never the last lock."""

from __future__ import annotations

import re

import pytest

from hivebox.kernel import process
from hivebox.pipeline import Inputs, make_plan
from hivebox.plan.resolve import Request
from hivebox.rootfs.store import host_tree
from hivebox.steps.environment import Sinks
from tests.attacks.corpus import attacks
from tests.attacks.mutate import CONTROLS, without
from tests.attacks.table import DOCUMENT, generated, removals
from tests.harness import Runner, policy

# No attack gets through without these, because others hold: docs/attacks.md#never-the-last-lock gives the reasons.
NEVER_THE_LAST = {
    "privileges.no_new_privs",
    "rlimits.cpu",
    "rlimits.data",
    "rlimits.nice",
    "rlimits.nproc",
    "rlimits.rtprio",
}
# Steps that are the run itself, or whose parts are named after something else.
STEPS = {
    "cgroup": ("limits.memory", "limits.pids", "limits.cpu_time"),
    "network": ("namespaces.network",),
    "execute": (),
}


def _plan():
    inputs = Inputs(policy(), "0" * 64, Request(command="true"), host_tree(), Sinks(-1, None, None), "")
    return make_plan(inputs, "0" * 16)


def test_every_step_has_an_attack():
    used = removals()
    for step in _plan().steps:
        names = STEPS.get(step.name) or [name for name in used if name.split(".")[0] == step.name]
        assert step.name == "execute" or any(name in used for name in names), step.name


def test_every_control_has_an_attack_or_a_reason():
    used = set(removals())
    assert set(CONTROLS) - used == NEVER_THE_LAST & set(CONTROLS)
    document = DOCUMENT.read_text()
    reasons = document.split("## Never the last lock")[1].split("\n## ")[0]
    assert {name for name in NEVER_THE_LAST if f"`{name}`" not in reasons} == set()


def test_every_resource_limit_has_an_attack_or_a_reason():
    step = next(step for step in _plan().steps if step.name == "rlimits")
    known = {name.lower() for name in step._table()}
    covered = {name.split(".")[1] for name in {*removals(), *NEVER_THE_LAST} if name.startswith("rlimits.")}
    assert known - covered == set()


def test_at_least_one_control_is_the_only_lock_of_each_kind():
    """Combinations prove less than single removals; each of these families has a single one."""
    alone = {name for name, by in removals().items() if any(not others for others in by.values())}
    families = {name.split(".")[0] for name in alone}
    assert families >= {
        *("namespaces", "root", "rootfs", "pivot", "workdir", "grants", "streams", "environment", "descriptors"),
        *("script", "rlimits", "landlock", "privileges", "syscalls", "limits", "outputs", "identity"),
    }


def test_the_corpus_is_as_large_as_promised():
    assert len(attacks()) >= 40
    for attack in attacks():
        for title in ("Source:", "Stopped by:"):
            assert title in attack.doc, f"{attack.name} has no {title}"


def test_the_documented_tables_are_those_of_the_attacks():
    document = DOCUMENT.read_text()
    assert document == generated(document), "run python -m tests.attacks.table --write"


def test_a_removal_ends_with_its_run(runner):
    """What the removals patch is whole again: the same attack is refused after it got through."""
    whole = process.close_range
    with without("descriptors"):
        assert process.close_range is not whole
    assert process.close_range is whole


def test_a_misspelt_control_is_no_control():
    with pytest.raises(KeyError), without("namespaces.newtork"):
        pass


def test_seccomp_program_of_a_removal_differs_by_that_call_only(runner: Runner):
    """A removal that opened more than it says would prove nothing about the call."""
    code = "import ctypes,os;l=ctypes.CDLL(None);print(l.syscall(425,0,0), l.syscall(323,0))"
    with without("syscalls.io_uring_setup") as weakened:
        report = runner.command("python3", "-c", code, transform=weakened.plan)
    assert {violation.name for violation in report.ending.violations} == {"userfaultfd"}, report


def test_documents_name_existing_attacks():
    names = {attack.name for attack in attacks()}
    prose = DOCUMENT.read_text().split("<!-- generated")[0]
    mentioned = set(re.findall(r"tests/attacks/(\w+)\.py", prose)) - {"mutate", "scenes", "corpus", "table"}
    assert mentioned <= names
