"""OCI runtime-spec seccomp JSON (config.json ``linux.seccomp``, Docker's and Podman's profiles): out and in."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NamedTuple

from hivebox.errors import HiveboxError
from hivebox.policy.model import Policy, Syscalls
from hivebox.policy.syscall_filters import Condition, Conditions, Filter, filter_of, rules
from hivebox.policy.syscall_groups import GROUPS, QUIET, members
from hivebox.policy.syscall_numbers import all_names

_MACHINE = os.uname().machine
_OCI_ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
_DOCKER_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_ALLOW = "SCMP_ACT_ALLOW"
_REFUSE = ("SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP",
           "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_LOG")  # fmt: skip
_ALL_BITS = (1 << 64) - 1
# @unix-sockets adds no call to @network-local, but lets a script out through the sockets of granted host directories,
# which no seccomp profile speaks of: it is for a person to add.
_CARRIED = tuple(group for group in GROUPS if group != "@unix-sockets")
_MOST_TESTS = 2


def _argument(condition: Condition) -> dict[str, Any]:
    if condition.mask == _ALL_BITS:
        return {"index": condition.argument, "value": condition.value, "op": "SCMP_CMP_EQ"}
    # The mask is `value`, what it must give is `valueTwo`: runtime-spec, config-linux.md.
    return {
        "index": condition.argument,
        "value": condition.mask,
        "valueTwo": condition.value,
        "op": "SCMP_CMP_MASKED_EQ",
    }


def export_oci(policy: Policy, machine: str = _MACHINE) -> dict[str, Any]:
    """A profile for runc, crun, Docker and Podman on ``machine`` that allows what ``policy`` allows. Refused calls
    answer EPERM there and are not reported, since that needs hivebox's supervisor."""
    entries: dict[tuple[Conditions, int | None], list[str]] = {}
    for rule in rules(policy):
        entries.setdefault((rule.conditions, rule.errno), []).append(rule.call)
    syscalls = []
    for (conditions, errno), names in entries.items():
        entry: dict[str, Any] = {"names": names, "action": _ALLOW if errno is None else "SCMP_ACT_ERRNO"}
        if errno is not None:
            entry["errnoRet"] = errno
        if conditions:
            entry["args"] = [_argument(condition) for condition in conditions]
        syscalls.append(entry)
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": [_OCI_ARCHITECTURES[machine]],
        "syscalls": syscalls,
    }


class Imported(NamedTuple):
    """``syscalls`` grants exactly what could be carried over; ``notes`` names everything that could not."""

    syscalls: Syscalls
    notes: tuple[str, ...]


def import_oci(document: Any, machine: str = _MACHINE) -> Imported:
    """A ``syscalls:`` section from OCI or Docker seccomp JSON, never wider than the original but where a note says
    so. Raises HiveboxError for JSON of another shape."""
    reader = _Reader(document, machine)
    reader.read()
    if reader.denylist:
        syscalls = Syscalls(_CARRIED, (), tuple(sorted(reader.denied & _all_members())))
    else:
        syscalls = _fold(reader.allowed - reader.denied)
    return Imported(syscalls, tuple(reader.all_notes()))


def _bad(why: str) -> HiveboxError:
    return HiveboxError(
        "not an OCI seccomp profile", why, "expected the shape of Docker's default.json: defaultAction and syscalls"
    )


class _Reader:
    def __init__(self, document: Any, machine: str) -> None:
        if isinstance(document, dict) and isinstance(document.get("linux"), dict):
            document = document["linux"].get("seccomp")  # a whole config.json
        if not isinstance(document, dict) or not isinstance(document.get("defaultAction"), str):
            raise _bad("there is no defaultAction")
        if document["defaultAction"] not in (_ALLOW, *_REFUSE):
            raise _bad(f"unknown defaultAction {document['defaultAction']}")
        self._entries = document.get("syscalls", [])
        if not isinstance(self._entries, list):
            raise _bad("syscalls is not a list")
        self._machine = machine
        self.denylist = document["defaultAction"] in (_ALLOW, "SCMP_ACT_LOG")
        self.allowed: set[str] = set()
        self.denied: set[str] = set()
        self.notes: list[str] = []
        self._replaced: dict[str, list[str]] = {}
        self._foreign: set[str] = set()
        if self.denylist:
            self.notes.append(
                f"defaultAction {document['defaultAction']} (a list of refused calls) has no counterpart: hivebox stays"
                " default-deny, and calls that no group grants are refused"
            )
        if document.get("flags") or document.get("listenerPath"):
            self.notes.append("flags and listenerPath are not carried over: hivebox loads and listens itself")

    def read(self) -> None:
        for entry in self._entries:
            names = entry.get("names") or [entry.get("name")] if isinstance(entry, dict) else None
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise _bad(f"an entry of syscalls has no list of names: {str(entry)[:80]}")
            if entry.get("action") not in (_ALLOW, *_REFUSE):
                raise _bad(f"unknown action {entry.get('action')} for {', '.join(names)}")
            self._foreign.update(name for name in names if name not in all_names())
            self._entry(entry, [name for name in names if name in all_names()])

    def all_notes(self) -> Iterable[str]:
        """Everything that is not as it was in the file."""
        yield from dict.fromkeys(self.notes)
        for name, tests in self._replaced.items():
            only = _own_filter(name).only  # type: ignore[union-attr]  # that is why it is in there
            shown = list(dict.fromkeys(tests))
            more = f"; and {len(shown) - _MOST_TESTS} more" if len(shown) > _MOST_TESTS else ""
            yield f"{name}: hivebox's filter ({only}) takes the place of: {'; '.join(shown[:_MOST_TESTS])}{more}"
        if self._foreign:
            yield f"not calls of a 64-bit machine, never reachable: {', '.join(sorted(self._foreign))}"

    def _entry(self, entry: dict[str, Any], names: list[str]) -> None:
        listed = ", ".join(names)
        if not names or not self._applies(entry, listed):
            return
        action: str = entry["action"]
        if action == _ALLOW:
            self.allowed.update(self._with_own_filter(names, entry["args"], action) if entry.get("args") else names)
        elif entry.get("args"):
            self.denied.update({*names} - self._with_own_filter(names, entry["args"], action))
        else:
            if action != "SCMP_ACT_ERRNO":
                self.notes.append(f"{listed}: {action} becomes a refusal with EPERM and an event")
            self.denied.update(name for name in names if name not in QUIET)

    def _applies(self, entry: dict[str, Any], listed: str) -> bool:
        """Docker's conditions. A payload has no capability, so what needs one is out, what excludes one is in."""
        includes, excludes = _conditions(entry, "includes"), _conditions(entry, "excludes")
        architecture = _DOCKER_ARCHITECTURES[self._machine]
        if includes.get("caps"):
            self.notes.append(
                f"{listed}: only with {', '.join(map(str, includes['caps']))}, which no payload has; not granted"
            )
            return False
        if includes.get("arches") and architecture not in includes["arches"]:
            return False
        if architecture in (excludes.get("arches") or ()):
            return False
        if includes.get("minKernel") or excludes.get("minKernel"):
            self.notes.append(f"{listed}: the condition on the kernel's version is dropped")
        return True

    def _with_own_filter(self, names: list[str], arguments: Any, action: str) -> set[str]:
        """Those of ``names`` whose arguments hivebox filters itself. The others are refused altogether."""
        if not isinstance(arguments, list) or not all(isinstance(argument, dict) for argument in arguments):
            raise _bad(f"args of {', '.join(names)} is not a list of objects")
        words = f"{action} if " + " and ".join(map(_words, arguments))
        own = {name for name in names if _own_filter(name)}
        for name in names:
            if name in own:
                self._replaced.setdefault(name, []).append(words)
            else:
                self.notes.append(f"{name}: refused altogether, since a profile cannot say: {words}")
        return own


def _conditions(entry: dict[str, Any], key: str) -> dict[str, Any]:
    said = entry.get(key) or {}
    if not isinstance(said, dict) or not all(isinstance(said.get(name) or [], list) for name in ("caps", "arches")):
        raise _bad(f"{key} is not an object with lists: {str(said)[:80]}")
    return said


def _words(argument: dict[str, Any]) -> str:
    masked = f" {argument.get('valueTwo')}" if argument.get("op") == "SCMP_CMP_MASKED_EQ" else ""
    return f"argument {argument.get('index')} {argument.get('op')} {argument.get('value')}{masked}"


def _own_filter(name: str) -> Filter | None:
    return filter_of(name, Policy("import"), frozenset({"fork"}))


def _all_members() -> frozenset[str]:
    return frozenset[str]().union(*map(members, _CARRIED))


def _fold(allowed: set[str]) -> Syscalls:
    """groups + allow - deny that grants exactly ``allowed``, with a group wherever most of it is there."""
    groups = [group for group in _CARRIED if 2 * len(members(group) & allowed) > len(members(group))]
    in_groups = frozenset[str]().union(*map(members, groups))
    return Syscalls(tuple(groups), tuple(sorted(allowed - in_groups)), tuple(sorted(in_groups - allowed)))
