"""The checker finds what is wrong with a syscalls: section, and nothing in the group sets that profiles use."""

from pathlib import Path

import pytest

from hivebox.policy.load import load_policy
from hivebox.policy.model import Filesystem, Policy, Syscalls
from hivebox.policy.syscall_check import Finding, check

USUAL = ("@base", "@python", "@threads", "@process", "@exec", "@network-local")


def findings(groups: tuple[str, ...], allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()) -> tuple[Finding, ...]:
    return check(Policy("p", syscalls=Syscalls(groups, allow, deny)))


def bad(found: tuple[Finding, ...]) -> list[str]:
    return [finding.what for finding in found if finding.severity != "note"]


@pytest.mark.parametrize(
    "groups",
    [
        ("@base",),
        ("@base", "@python"),
        ("@base", "@python", "@threads"),
        ("@base", "@process", "@exec"),
        USUAL,
        (*USUAL, "@node", "@ipc", "@unix-sockets"),
    ],
)
def test_usual_group_sets_are_clean(groups: tuple[str, ...]) -> None:
    assert bad(findings(groups)) == []


PROFILES = sorted(path.stem for path in (Path(__file__).parents[2] / "profiles").glob("*.yaml"))


@pytest.mark.parametrize("name", PROFILES)
def test_shipped_profiles_are_clean(name: str) -> None:
    policy, _sources = load_policy(name)
    assert bad(check(policy)) == []


@pytest.mark.parametrize(
    ("groups", "allow", "deny", "severity", "what"),
    [
        (USUAL, ("ptrace",), ("ptrace",), "error", "ptrace is both allowed and denied"),
        (("@base", "@pyton"), (), (), "error", "no such group: @pyton"),
        (USUAL, ("ptrce",), (), "error", "no such system call: ptrce"),
        (USUAL, (), ("forkk",), "error", "no such system call: forkk"),
        (("@threads",), (), (), "error", "the profile can start nothing"),
        (USUAL, (), ("mmap",), "error", "the profile can start nothing"),
        (USUAL, ("ptrace",), (), "warning", "ptrace is dangerous"),
        (USUAL, ("io_uring_setup",), (), "warning", "io_uring_setup is dangerous"),
        (USUAL, (), ("ptrace",), "warning", "denying ptrace takes nothing away"),
        (USUAL, (), ("openat",), "warning", "denying openat takes no power away"),
        (USUAL, (), ("fork",), "warning", "denying fork takes no power away"),
        (("@base",), ("connect",), (), "warning", "connect is of no use"),
        (USUAL, ("fork",), (), "note", "fork is granted twice"),
        (USUAL, (), ("kill", "tkill", "tgkill"), "note", "@base without kill, tgkill, tkill"),
        (("@base", "@exec"), (), (), "note", "@exec without @process"),
    ],
)
def test_finds(
    groups: tuple[str, ...], allow: tuple[str, ...], deny: tuple[str, ...], severity: str, what: str
) -> None:
    assert (severity, what) in [(finding.severity, finding.what) for finding in findings(groups, allow, deny)]


def test_did_you_mean() -> None:
    assert findings(USUAL, ("ptrce",))[0].hint == "did you mean ptrace?"
    assert findings(("@bass",))[0].hint == "did you mean @base?"


def test_denying_a_whole_family_is_not_a_warning() -> None:
    assert bad(findings(USUAL, (), ("execve", "execveat"))) == []
    assert bad(findings(("@base", "@threads", "@process"), (), ("fork", "vfork", "wait4", "waitid"))) == []


def test_worst_first() -> None:
    order = [finding.severity for finding in findings(USUAL, ("ptrace", "fork"), ("ptrace", "bpf"))]
    assert order == sorted(order, key=("error", "warning", "note").index)
    assert len(set(order)) == len(("error", "warning", "note"))


def test_work_exec_without_exec() -> None:
    policy = Policy("p", syscalls=Syscalls(("@base",)), filesystem=Filesystem(work_exec=True))
    assert "filesystem.work_exec without @exec" in [finding.what for finding in check(policy)]
