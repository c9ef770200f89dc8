"""A policy in sentences: what it grants, what it denies, what enforces each, and which line says so.

The sentences follow from the Policy, not from the YAML: what is inherited, defaulted or lowered by a bound is there
too. One function per section of a profile, in the order of docs/profile.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from hivebox.policy.bounds import format_limit, key_of
from hivebox.policy.hosts import inspection
from hivebox.policy.model import Allow, Mount, Policy
from hivebox.policy.syscall_groups import GROUPS, granted
from hivebox.units import format_duration, format_size

GRANTS, DENIES, LIMITS = "grants", "denies", "limits"
_DEFAULT = "hivebox default"
_ALWAYS = "every profile"


class Fact(NamedTuple):
    """``verdict`` is ``grants``, ``denies`` or ``limits``; ``mechanism`` is what holds even if the script is hostile;
    ``origin`` is "FILE:LINE", ``hivebox default``, or ``every profile`` for what no profile can change."""

    section: str
    verdict: str
    text: str
    mechanism: str
    origin: str


def explain(policy: Policy, origins: Mapping[str, str]) -> tuple[Fact, ...]:
    """``origins`` as in ``profile.Compiled``. Raises HiveboxError for a system call group there is not."""
    return (
        *_rootfs(policy, origins),
        *_filesystem(policy, origins),
        *_network(policy, origins),
        *_syscalls(policy, origins),
        *_limits(policy, origins),
        *_environment(policy, origins),
        *_outputs(policy, origins),
        *_optional(policy, origins),
        *_always(),
        *_security_policy(policy),
    )


def _rootfs(policy: Policy, origins: Mapping[str, str]) -> Iterator[Fact]:
    key = "rootfs.recipe"
    text = f"sees the read-only root of the recipe {policy.rootfs.recipe}"
    mechanism = "mount namespace, pivot_root, read-only bind mounts"
    yield Fact("rootfs", GRANTS, text, mechanism, origins.get(key, _DEFAULT))
    if policy.rootfs.interpreter:
        text = f"runs {policy.rootfs.interpreter}, with its packages in that root"
        yield Fact("rootfs", GRANTS, text, mechanism, origins.get("rootfs.interpreter", _DEFAULT))


_MODES = {
    "read_only": ("reads", "read-only bind mount"),
    "read_write": ("reads AND CHANGES", "bind mount without nosuid programs or devices"),
    "overlay": ("reads, and changes a copy that is thrown away,", "overlayfs on the run's own tmpfs"),
}


def _filesystem(policy: Policy, origins: Mapping[str, str]) -> Iterator[Fact]:
    limits = policy.limits
    size = f"{format_size(limits.workdir_size_bytes)} and {limits.workdir_inodes} files together"
    yield Fact("filesystem", GRANTS, f"writes to /work, /tmp and /dev/shm, {size}", "tmpfs of its own", _ALWAYS)
    for mount in policy.filesystem.mounts:
        yield _mount(mount, origins)
    place = origins.get("filesystem.work_exec", _DEFAULT)
    if policy.filesystem.work_exec:
        yield Fact("filesystem", GRANTS, "executes what it wrote there", "no MS_NOEXEC on that tmpfs", place)
    else:
        mechanism = "MS_NOEXEC, Landlock, memfd_create filtered"
        yield Fact("filesystem", DENIES, "executing what it wrote there", mechanism, place)
    mechanism = "they are not mounted; Landlock"
    yield Fact("filesystem", DENIES, "all other files of this host", mechanism, _ALWAYS)


def _mount(mount: Mount, origins: Mapping[str, str]) -> Fact:
    does, mechanism = _MODES[mount.mode]
    shown = "" if mount.dest == mount.source else f", there called {mount.dest}"
    origin = origins.get(f"filesystem.{mount.mode}.{mount.source}", _DEFAULT)
    return Fact("filesystem", GRANTS, f"{does} {mount.source} of this host{shown}", mechanism, origin)


def _network(policy: Policy, origins: Mapping[str, str]) -> Iterator[Fact]:
    origin = origins.get("network.mode", _DEFAULT)
    rules = policy.network.allow
    if not rules:
        yield Fact("network", DENIES, "every network but its own loopback", "empty network namespace", origin)
    for rule in rules:
        yield from _allow(rule, origins.get(f"network.allow.{rule.text()}", origin))
    if rules:
        text = "every other name, address, port and protocol; each attempt is reported"
        mechanism = "empty network namespace; a relay outside resolves and connects"
        yield Fact("network", DENIES, text, mechanism, origin)
        text = "private, link-local and metadata addresses, and this host's own, behind a name"
        yield Fact("network", DENIES, text, "the relay, unless a rule names the address", _ALWAYS)
        servers = ", ".join(policy.network.dns)
        text = f"look-ups by {servers}" if servers else "look-ups by this host's /etc/hosts and /etc/resolv.conf"
        yield Fact(
            "network", GRANTS, f"{text}, of names that a rule allows", "relay", origins.get("network.dns", _DEFAULT)
        )
    if "socket" not in granted(policy.syscalls):
        yield Fact("network", DENIES, "opening sockets, even to itself", "seccomp", _group_origin(policy, origins))


_LOOKS = {
    "tls": "; the ClientHello must name it",
    "head": "; each request must be for it",
    "watch": "",
    "nothing": "; NO CHECK that it is meant",
}


def _allow(rule: Allow, origin: str) -> Iterator[Fact]:
    """What one rule opens, and what bounds it."""
    place = "this host's own loopback" if rule.host_loopback else rule.host or f"the address {rule.cidr}"
    for port in rule.ports:
        looks = _LOOKS[inspection(rule, port)] if rule.host and rule.protocol == "tcp" else ""
        text = f"reaches {place} at {rule.protocol} port {port}{looks}"
        if rule.host_loopback:
            text += f", as {rule.host}"
        yield Fact("network", GRANTS, text, "relay outside, by its own look-up of the name", origin)
    for what, value in (
        ("bytes in both directions", format_size(rule.max_bytes) if rule.max_bytes else ""),
        ("a second", format_size(rule.rate_bytes_s) if rule.rate_bytes_s else ""),
        ("connections at once", str(rule.max_connections) if rule.max_connections else ""),
    ):
        if value:
            yield Fact("network", LIMITS, f"{place}: {value} {what}", "relay", origin)


# What a reader asks about first, and the call that decides it.
_POWERS = (
    ("fork", "starting processes"),
    ("execve", "running another program"),
    ("clone", "starting threads"),
)


def _syscalls(policy: Policy, origins: Mapping[str, str]) -> Iterator[Fact]:
    syscalls = policy.syscalls
    calls = granted(syscalls)
    everywhere = _group_origin(policy, origins)
    for call, power in _POWERS:
        verdict = GRANTS if call in calls else DENIES
        place = _group_place(calls[call].group, policy, origins) if call in calls else everywhere
        yield Fact("syscalls", verdict, power, "seccomp", place)
    for group in syscalls.groups:
        count = sum(1 for grant in calls.values() if grant.group == group)
        about = "; ".join(reason.partition(":")[0].partition(";")[0] for reason in GROUPS[group])
        text = f"{count} system calls of {group}: {about}"
        yield Fact("syscalls", GRANTS, text, "seccomp", _group_place(group, policy, origins))
    for kind, verdict, names in (("allow", GRANTS, syscalls.allow), ("deny", DENIES, syscalls.deny)):
        for name in names:
            origin = origins.get(f"syscalls.{kind}.{name}", _DEFAULT)
            yield Fact("syscalls", verdict, f"the system call {name}", "seccomp", origin)
    yield Fact("syscalls", DENIES, "every other system call, with a report of its name", "seccomp", _ALWAYS)
    text = f"{syscalls.kill_after} refused calls; then the run is killed"
    mechanism = "seccomp user notification, counted by the supervisor"
    yield Fact("syscalls", LIMITS, text, mechanism, origins.get("syscalls.kill_after", _DEFAULT))


def _group_place(group: str, policy: Policy, origins: Mapping[str, str]) -> str:
    return origins.get(f"syscalls.groups.{group}") or _group_origin(policy, origins)


def _group_origin(policy: Policy, origins: Mapping[str, str]) -> str:
    places = [origins.get(f"syscalls.groups.{group}", "") for group in policy.syscalls.groups]
    return origins.get("syscalls.groups") or next((place for place in places if place), _DEFAULT)


_GROUP_OR_POLL = {
    "refuse": "control group",
    "poll": "control group; without one rlimits and a polling supervisor",
}


_IO_RATES = (
    ("io_read_bytes_s", "bytes read from each disk"),
    ("io_write_bytes_s", "bytes written to each disk"),
    ("io_read_ops_s", "read operations on each disk"),
    ("io_write_ops_s", "write operations on each disk"),
)


def _limits(policy: Policy, origins: Mapping[str, str]) -> Iterator[Fact]:
    limits = policy.limits
    group = _GROUP_OR_POLL[limits.without_cgroup]
    for field, what, mechanism in (
        ("wall_time_s", "wall time", "supervisor's clock; the PID namespace is killed"),
        ("cpu_time_s", "CPU time of all its processes", f"{group}; RLIMIT_CPU"),
        ("memory_bytes", "memory of all its processes", group),
        ("pids", "processes and threads", f"{group}; RLIMIT_NPROC"),
        ("cpus", "processors", "control group" if limits.cpus else "CPU time, which bounds the total"),
        *((field, what, "control group" if getattr(limits, field) else "none") for field, what in _IO_RATES),
        ("file_size_bytes", "a single file", "RLIMIT_FSIZE"),
        ("open_files", "open files of each process", "RLIMIT_NOFILE"),
        ("workdir_size_bytes", "/work, /tmp and /dev/shm together", "tmpfs size"),
        ("workdir_inodes", "files in them", "tmpfs nr_inodes"),
        ("output_size_bytes", "stdout and stderr together", "pipes read by the supervisor"),
    ):
        origin = origins.get(f"limits.{key_of(field)}", _DEFAULT)
        value = format_limit(field, getattr(limits, field))
        yield Fact("limits", LIMITS, f"{what}: {value}", mechanism, origin)
    origin = origins.get("limits.without_cgroup", _DEFAULT)
    if limits.without_cgroup == "refuse":
        yield Fact("limits", DENIES, "running where no control group can be made", "hivebox stops", origin)
    else:
        text = "running where no control group can be made; the record says so"
        yield Fact("limits", GRANTS, text, "rlimits and a polling supervisor: a burst can pass unseen", origin)


def _environment(policy: Policy, origins: Mapping[str, str]) -> Iterator[Fact]:
    for name, value in policy.environment.set:
        origin = origins.get(f"environment.set.{name}", _DEFAULT)
        yield Fact("environment", GRANTS, f"{name} is {value!r}", "clean environment", origin)
    for name in policy.environment.passed:
        origin = origins.get(f"environment.pass.{name}", _DEFAULT)
        yield Fact("environment", GRANTS, f"{name} has the caller's value, if any", "clean environment", origin)
    text = "all other variables of the caller"
    yield Fact("environment", DENIES, text, "clean environment: HOME, USER, LOGNAME, LANG, TMPDIR, PATH", _ALWAYS)


def _outputs(policy: Policy, origins: Mapping[str, str]) -> Iterator[Fact]:
    outputs = policy.outputs
    for key, value in (
        ("max_size", format_size(outputs.max_size_bytes)),
        ("max_files", f"{outputs.max_files} files"),
        ("max_time", format_duration(outputs.max_time_s)),
    ):
        text = f"what --out collects: {value}"
        mechanism = "copied by the supervisor when the script is dead, no links followed"
        yield Fact("outputs", LIMITS, text, mechanism, origins.get(f"outputs.{key}", _DEFAULT))


def _optional(policy: Policy, origins: Mapping[str, str]) -> Iterator[Fact]:
    for name in policy.optional:
        origin = origins.get(f"optional.{name}", _DEFAULT)
        text = f"running where the kernel has no {name}; the record says so"
        yield Fact("optional", GRANTS, text, "the mounts alone", origin)
    if not policy.optional:
        text = "running where any control is missing"
        yield Fact("optional", DENIES, text, "hivebox stops", origins.get("optional", _DEFAULT))


def _always() -> Iterator[Fact]:
    for text, mechanism in (
        ("any privilege: no capability, no set-user-ID program", "user namespace, empty capability sets, no_new_privs"),
        ("seeing or signalling other processes", "PID and IPC namespaces"),
        ("the caller's terminal and open files", "pipes for stdin, stdout, stderr; every other descriptor closed"),
        ("leaving anything running", "the PID namespace ends with its init"),
        ("hivebox's key and records", "outside the root; paths that hold them cannot be granted"),
    ):
        yield Fact("always", DENIES, text, mechanism, _ALWAYS)


def _security_policy(policy: Policy) -> Iterator[Fact]:
    bounds = policy.bounds
    limits = {f"limits.{key_of(field)}": format_limit(field, most) for field, most in bounds.limits}
    lists = {
        "rootfs.recipes": bounds.recipes,
        "network.hosts": bounds.hosts,
        "network.cidrs": bounds.cidrs,
        "network.dns": bounds.dns,
        "syscalls.groups": bounds.groups,
        "syscalls.calls": bounds.calls,
        "filesystem.read_only": bounds.read_only,
        "filesystem.read_write": bounds.read_write,
        "environment.pass": bounds.pass_environment,
        "limits.without_cgroup": bounds.without_cgroup,
        "required": bounds.required,
    }
    for key, place in bounds.origins:
        most = limits.get(key) or (
            "false"
            if key in ("filesystem.work_exec", "network.host_loopback")
            else ", ".join(lists.get(key) or ("nothing",))
        )
        yield Fact(
            "security-policy",
            LIMITS,
            f"what a profile may say for {key}: at most {most}",
            "checked before the run starts",
            place,
        )
