"""Groups, and what they grant."""

from pathlib import Path

import pytest

from hivebox.errors import HiveboxError
from hivebox.policy.model import Filesystem, Mount, Policy, Syscalls
from hivebox.policy.syscall_check import DANGEROUS
from hivebox.policy.syscall_filters import _FILTERS, filter_of, rules
from hivebox.policy.syscall_groups import GROUPS, QUIET, granted, members
from hivebox.policy.syscall_numbers import all_names


@pytest.mark.parametrize("group", GROUPS)
def test_members_are_calls_and_listed_once(group: str) -> None:
    names = [name for names in GROUPS[group].values() for name in names.split()]
    assert set(names) <= all_names()
    assert len(names) == len(set(names))


@pytest.mark.parametrize("group", GROUPS)
def test_no_group_grants_a_dangerous_call(group: str) -> None:
    assert not members(group) & set(DANGEROUS)


def test_tables_name_calls_that_exist() -> None:
    assert set(DANGEROUS) <= all_names()
    assert set(QUIET) <= all_names()
    assert set(_FILTERS) <= frozenset[str]().union(*map(members, GROUPS))


def test_groups_plus_allow_minus_deny() -> None:
    calls = granted(Syscalls(("@base",), ("ptrace",), ("unlink", "kill")))
    assert calls["read"].group == "@base"
    assert calls["ptrace"].group == ""
    assert set(calls) == (members("@base") | {"ptrace"}) - {"unlink", "kill"}


def test_deny_wins_over_allow() -> None:
    assert "ptrace" not in granted(Syscalls(("@base",), ("ptrace",), ("ptrace",)))


@pytest.mark.parametrize(
    "syscalls", [Syscalls(("@bass",)), Syscalls(("@base",), ("ptrce",)), Syscalls(("@base",), (), ("ptrce",))]
)
def test_a_misspelt_name_is_an_error_not_an_empty_grant(syscalls: Syscalls) -> None:
    with pytest.raises(HiveboxError, match="no such system call"):
        rules(Policy("p", syscalls=syscalls))


def test_clone_makes_processes_only_with_fork() -> None:
    policy = Policy("p")
    assert filter_of("clone", policy, {"clone", "fork"}) != filter_of("clone", policy, {"clone"})


def test_memfd_may_be_executable_only_with_work_exec() -> None:
    assert filter_of("memfd_create", Policy("p"), ()).only == "with MFD_NOEXEC_SEAL"
    assert filter_of("memfd_create", Policy("p", filesystem=Filesystem(work_exec=True)), ()).only == "no huge pages"


@pytest.mark.parametrize(
    ("mode", "groups", "by_name"),
    [
        ("", ("@network-local",), True),
        ("overlay", ("@network-local",), True),
        ("read_only", ("@network-local",), False),
        ("read_write", ("@network-local",), False),
        ("read_only", ("@network-local", "@unix-sockets"), True),
    ],
)
def test_unix_sockets_have_names_only_where_no_socket_of_the_host_can_be_seen(
    mode: str, groups: tuple[str, ...], by_name: bool
) -> None:
    mounts = (Mount("/srv", "/srv", mode),) if mode else ()
    policy = Policy("p", filesystem=Filesystem(mounts), syscalls=Syscalls(("@base", *groups)))
    unix = [
        rule for rule in rules(policy) if rule.call == "socket" and rule.conditions[0].value == 1 and rule.errno is None
    ]
    pairs = {rule.conditions[1:] for rule in rules(policy) if rule.call == "socketpair"}
    assert bool(unix) == by_name
    assert (() in pairs) == by_name  # whatever the type


def test_a_quiet_call_that_is_granted_is_not_refused() -> None:
    quiet = [rule for rule in rules(Policy("p", syscalls=Syscalls(("@base",), ("clone3",)))) if rule.call == "clone3"]
    assert [rule.errno for rule in quiet] == [None]


@pytest.mark.parametrize("name", [*GROUPS, *_FILTERS, *QUIET, "clone", "memfd_create"])
def test_docs_name_every_group_filter_and_quiet_call(name: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / "syscalls.md").read_text(encoding="utf-8")
    assert f"`{name}`" in text
