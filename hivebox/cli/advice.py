"""What a refused system call says about the profile: a line for each thing that would have to be granted."""

from __future__ import annotations

from hivebox.policy.model import Policy
from hivebox.policy.syscall_filters import makes_namespaces, unix_sockets
from hivebox.policy.syscall_groups import GROUPS, granted, members
from hivebox.report import Violation

_SHIPPED = {"@process": "-p python has it", "@exec": "-p python has it", "@node": "-p node has it"}
_OWN = "add_groups in a profile: docs/profile.md#syscalls"


def advice(violations: tuple[Violation, ...], policy: Policy) -> list[str]:
    """Nothing for a call that no group grants."""
    return [*_unix_sockets(violations, policy), *_groups(violations, policy)]


def _unix_sockets(violations: tuple[Violation, ...], policy: Policy) -> list[str]:
    """The one refusal that comes from what was granted, not from what was left out."""
    named = any(each.name in {"socket", "socketpair"} and each.detail[0] == "0x1" for each in violations)
    if not named or unix_sockets(policy):
        return []
    return ["note: no Unix sockets with names where host paths are granted, unless the profile has @unix-sockets"]


def _groups(violations: tuple[Violation, ...], policy: Policy) -> list[str]:
    wanted: dict[str, list[str]] = {}
    for violation in violations:
        group = _granting(violation, policy)
        if group and violation.name not in wanted.setdefault(group, []):
            wanted[group].append(violation.name)
    return [f"note: {', '.join(calls)}: granted by {group} ({_SHIPPED.get(group, _OWN)})"
            for group, calls in wanted.items()]  # fmt: skip


def _granting(violation: Violation, policy: Policy) -> str:
    """The first group that would have let it through. A process is made by the call that makes threads."""
    name, syscalls = violation.name, policy.syscalls
    forks = name == "clone" and "@process" not in syscalls.groups and not makes_namespaces(int(violation.detail[0], 16))
    if name in syscalls.deny or (name in granted(syscalls) and not forks):
        return ""
    candidates = ("@process",) if forks else GROUPS
    return next((group for group in candidates if name in members(group) and group not in syscalls.groups), "")
