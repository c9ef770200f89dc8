"""What is questionable about a valid profile, for ``hivebox profile check``. Judges, and changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

from hivebox.locations import config_dirs, find_shipped, shipped_dir
from hivebox.policy import syscall_check
from hivebox.policy.model import Policy
from hivebox.policy.schema import did_you_mean
from hivebox.policy.syscall_check import Finding
from hivebox.units import format_size

_SEVERITIES = ("error", "warning", "note")


def check(policy: Policy) -> tuple[Finding, ...]:
    """Everything to say about a policy, on this host; worst first."""
    findings = (
        *_rootfs(policy),
        *_filesystem(policy),
        *_network(policy),
        *_limits(policy),
        *syscall_check.check(policy),
    )
    return tuple(sorted(findings, key=lambda finding: _SEVERITIES.index(finding.severity)))


def _rootfs(policy: Policy) -> Iterator[Finding]:
    recipe, interpreter = policy.rootfs
    if recipe != "host" and find_shipped("rootfs", recipe) is None:
        yield Finding("error", f"no such recipe: {recipe}", "no root can be built", did_you_mean(recipe, _recipes()))
    if recipe == "host":
        why = "the script sees all of this host's /usr, set-user-ID programs and compilers included"
        yield Finding("note", "rootfs: recipe: host", why, "python, shell and node hold less")
    if interpreter and not os.access(interpreter, os.X_OK):
        yield Finding(
            "error", f"no such interpreter: {interpreter}", "no root can be built", "give an existing program"
        )


def _recipes() -> set[str]:
    found = {"host"}
    for directory in (*(os.path.join(base, "rootfs") for base in config_dirs()), shipped_dir("rootfs")):
        if os.path.isdir(directory):
            found |= {name.removesuffix(".yaml") for name in os.listdir(directory) if name.endswith(".yaml")}
    return found


def _filesystem(policy: Policy) -> Iterator[Finding]:
    for mount in policy.filesystem.mounts:
        if not os.path.lexists(mount.source):
            yield Finding("warning", f"{mount.source} does not exist here", "a run would stop with exit code 125")
        elif os.path.realpath(mount.source) != mount.source:
            why = f"no link in a granted path is followed; it leads to {os.path.realpath(mount.source)}"
            yield Finding("warning", f"{mount.source} has a symbolic link in it", why, "write where it leads to")
        elif mount.mode == "overlay" and not os.path.isdir(mount.source):
            yield Finding("error", f"cannot overlay {mount.source}", "it is not a directory", "use read_only")
    if policy.filesystem.work_exec and not {"@exec"} & {*policy.syscalls.groups}:
        why = "no group lets it start a program, so only libraries can be loaded from there"
        yield Finding("note", "work_exec without @exec", why, "leave it false, unless it is for libraries")


def _network(policy: Policy) -> Iterator[Finding]:
    rules = policy.network.allow
    if policy.network.mode == "allow" and not rules:
        yield Finding(
            "note", "network: mode: allow without rules", "nothing can be reached", "write them, or mode: none"
        )
    for rule in rules:
        if rule.sni == "any":
            why = "whoever shares that host's address can be spoken to under its rule"
            yield Finding("note", f"{rule.text()}: sni: any", why, "leave it out where the program speaks TLS")
        if rule.host_loopback:
            why = "services on this host's loopback often ask for no password"
            yield Finding("warning", f"{rule.text()}: host_loopback", why, "be sure of what listens there")


def _limits(policy: Policy) -> Iterator[Finding]:
    limits = policy.limits
    if limits.workdir_size_bytes > limits.memory_bytes:
        what = f"workdir_size is above memory ({format_size(limits.memory_bytes)})"
        yield Finding("note", what, "the work directory is in memory and counts there", "raise memory too")
    if limits.file_size_bytes > limits.workdir_size_bytes and not _writes_outside(policy):
        what = f"file_size is above workdir_size ({format_size(limits.workdir_size_bytes)})"
        yield Finding("note", what, "no file can become so large", "lower file_size")


def _writes_outside(policy: Policy) -> bool:
    return any(mount.mode == "read_write" for mount in policy.filesystem.mounts)
