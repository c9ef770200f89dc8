"""OCI seccomp JSON: what goes out means the same, what comes in is never wider."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivebox.errors import HiveboxError
from hivebox.policy.load import load_policy
from hivebox.policy.model import Filesystem, Mount, Policy, Syscalls
from hivebox.policy.oci import export_oci, import_oci
from hivebox.policy.syscall_filters import rules, unix_sockets
from hivebox.policy.syscall_groups import GROUPS, granted, members
from hivebox.policy.syscall_numbers import all_names

POLICY = Policy("p", syscalls=Syscalls(("@base", "@process", "@network-local")))


def docker(*entries: dict[str, Any], default: str = "SCMP_ACT_ERRNO") -> dict[str, Any]:
    """The shape of Docker's default.json."""
    return {
        "defaultAction": default,
        "defaultErrnoRet": 1,
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
        "syscalls": list(entries),
    }


def allow(*names: str, **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", **more}


def test_export_says_what_the_rules_say() -> None:
    exported = export_oci(POLICY, "x86_64")
    assert exported["architectures"] == ["SCMP_ARCH_X86_64"]
    assert exported["defaultAction"] == "SCMP_ACT_ERRNO"
    theirs = {
        (name, tuple((arg["index"], arg["op"], arg["value"], arg.get("valueTwo")) for arg in entry.get("args", ())),
         entry.get("errnoRet"))
        for entry in exported["syscalls"]
        for name in entry["names"]
    }  # fmt: skip
    everything = (1 << 64) - 1
    ours = {
        (rule.call,
         tuple((item.argument, "SCMP_CMP_EQ", item.value, None) if item.mask == everything
               else (item.argument, "SCMP_CMP_MASKED_EQ", item.mask, item.value) for item in rule.conditions),
         rule.errno)
        for rule in rules(POLICY)
    }  # fmt: skip
    assert theirs == ours


def test_export_never_tests_one_argument_twice() -> None:
    """runc takes two tests of the same argument in one entry for alternatives, not for a conjunction."""
    for entry in export_oci(Policy("p", syscalls=Syscalls(tuple(GROUPS))), "x86_64")["syscalls"]:
        indexes = [argument["index"] for argument in entry.get("args", ())]
        assert len(indexes) == len(set(indexes))


@given(st.sets(st.sampled_from(sorted(all_names() - {"clone3"}))))
def test_import_grants_exactly_the_list(names: set[str]) -> None:
    imported = import_oci(docker(allow(*sorted(names))) if names else docker(), "x86_64")
    assert set(granted(imported.syscalls)) == names


def test_import_uses_groups() -> None:
    imported = import_oci(docker(allow(*sorted(members("@base") - {"uretprobe"}), "ptrace")), "x86_64")
    assert imported.syscalls == Syscalls(("@base",), ("ptrace",), ("uretprobe",))


@pytest.mark.parametrize(
    ("entry", "granted_calls", "note"),
    [
        (allow("bpf", includes={"caps": ["CAP_SYS_ADMIN"]}), set(), "bpf: only with CAP_SYS_ADMIN"),
        (allow("kill", excludes={"caps": ["CAP_SYS_ADMIN"]}), {"kill"}, None),
        (allow("kill", includes={"arches": ["s390x"]}), set(), None),
        (allow("kill", includes={"arches": ["amd64"]}), {"kill"}, None),
        (allow("kill", excludes={"arches": ["amd64"]}), set(), None),
        (allow("ptrace", includes={"minKernel": "4.8"}), {"ptrace"}, "the condition on the kernel's version"),
        (allow("chown32", "kill"), {"kill"}, "never reachable: chown32"),
        (allow("kill", args=[{"index": 1, "value": 9, "op": "SCMP_CMP_NE"}]), set(), "kill: refused altogether"),
        (allow("personality", args=[{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]), {"personality"},
         "hivebox's filter (the query and PER_LINUX) takes the place of: SCMP_ACT_ALLOW if argument 0 SCMP_CMP_EQ 8"),
    ],
)  # fmt: skip
def test_import_names_what_it_cannot_carry(entry: dict[str, Any], granted_calls: set[str], note: str | None) -> None:
    imported = import_oci(docker(entry), "x86_64")
    assert set(granted(imported.syscalls)) == granted_calls
    assert any(note in text for text in imported.notes) if note else not imported.notes


def test_import_of_a_refusal_for_some_arguments() -> None:
    entry = {"names": ["kill", "socket"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "x"}]}
    imported = import_oci(docker(allow("kill", "socket"), entry), "x86_64")
    assert set(granted(imported.syscalls)) == {"socket"}
    assert imported.notes[0].startswith("kill: refused altogether")
    assert imported.notes[1].startswith("socket: hivebox's filter")


def test_import_tells_many_conditions_in_one_short_note() -> None:
    imported = import_oci(export_oci(POLICY, "x86_64"), "x86_64")
    (note,) = (note for note in imported.notes if note.startswith("ioctl: "))
    assert note.endswith(
        "takes the place of: SCMP_ACT_ALLOW if argument 1 SCMP_CMP_MASKED_EQ 4294967295 21531;"
        " SCMP_ACT_ALLOW if argument 1 SCMP_CMP_MASKED_EQ 4294967295 21537; and 42 more"
    )


def test_import_refusals_win_and_are_named() -> None:
    imported = import_oci(docker(allow("kill", "read"), {"names": ["kill"], "action": "SCMP_ACT_KILL"}), "x86_64")
    assert set(granted(imported.syscalls)) == {"read"}
    assert imported.notes == ("kill: SCMP_ACT_KILL becomes a refusal with EPERM and an event",)


def test_import_of_a_denylist_stays_default_deny() -> None:
    imported = import_oci(docker({"names": ["kill"], "action": "SCMP_ACT_ERRNO"}, default="SCMP_ACT_ALLOW"), "x86_64")
    calls = granted(imported.syscalls)
    assert "kill" not in calls
    assert "ptrace" not in calls
    assert "read" in calls
    assert "has no counterpart" in imported.notes[0]


def test_import_takes_a_whole_config_json_and_the_old_name_key() -> None:
    document = {"linux": {"seccomp": docker({"name": "read", "action": "SCMP_ACT_ALLOW"})}}
    assert set(granted(import_oci(document, "x86_64").syscalls)) == {"read"}


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"defaultAction": 1},
        {"defaultAction": "SCMP_ACT_BOGUS"},
        {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": {}},
        {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": "read", "action": "SCMP_ACT_ALLOW"}]},
        {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["nosuch"], "action": 1}]},
        docker(allow("read", includes="amd64")),
        docker(allow("read", excludes={"arches": 1})),
        {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": ["read"]},
        {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": [1], "action": "SCMP_ACT_ALLOW"}]},
        {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "ALLOW"}]},
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [1]}],
        },
    ],
)
def test_import_of_anything_else_is_one_error(document: Any) -> None:
    with pytest.raises(HiveboxError, match="not an OCI seccomp profile"):
        import_oci(document, "x86_64")


@pytest.mark.parametrize("name", ["default", "python", "shell", "node", "governance", "strict"])
def test_export_then_import_grants_the_same_and_no_more(name: str) -> None:
    """The calls, and what a group means beside its calls: host directories are granted with either."""
    granted_host = Filesystem(mounts=(Mount("/srv", "/srv", "read_only"),))
    before = load_policy(name)[0]._replace(filesystem=granted_host)
    after = before._replace(syscalls=import_oci(export_oci(before, "x86_64"), "x86_64").syscalls)
    assert set(granted(after.syscalls)) == set(granted(before.syscalls))
    assert not unix_sockets(after)


def test_a_denylist_does_not_open_the_hosts_sockets() -> None:
    assert "@unix-sockets" not in import_oci(docker(default="SCMP_ACT_ALLOW"), "x86_64").syscalls.groups
