"""Holding a policy against ``security_policy.yml``. Light: on the ``hivebox run`` path."""

from __future__ import annotations

from hivebox.errors import ProfileError
from hivebox.frozen import Frozen
from hivebox.policy.grants import is_within
from hivebox.policy.model import Policy
from hivebox.units import format_duration, format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NOWHERE: Mapping[str, str] = {}
_LARGEST_SIZE = 1 << 62
_LONGEST_S = 1e9
_MOST_OPS = (1 << 32) - 2  # the kernel's largest rate means no limit

# Limits field -> least and most that hivebox itself can apply. open_files ends below kernel/bpf.py's CONTROL_FD:
# a payload that could have that descriptor could send messages that its profile refuses.
LIMIT_RANGES: Mapping[str, tuple[float, float]] = {
    "wall_time_s": (0.001, _LONGEST_S),
    "cpu_time_s": (0.001, _LONGEST_S),
    "memory_bytes": (1 << 20, _LARGEST_SIZE),
    "pids": (1, 1 << 22),
    "cpus": (0.01, 4096),
    "io_read_bytes_s": (4096, _LARGEST_SIZE),  # a page
    "io_write_bytes_s": (4096, _LARGEST_SIZE),
    "io_read_ops_s": (1, _MOST_OPS),
    "io_write_ops_s": (1, _MOST_OPS),
    "file_size_bytes": (1, _LARGEST_SIZE),
    "open_files": (8, 1000),
    "workdir_size_bytes": (4096, _LARGEST_SIZE),
    "workdir_inodes": (16, 1 << 31),
    "output_size_bytes": (1, _LARGEST_SIZE),
}
# May be ``all``, which is 0.
OFF_FIELDS = ("cpus", "io_read_bytes_s", "io_write_bytes_s", "io_read_ops_s", "io_write_ops_s")


class Excess(Frozen):
    """One thing a policy has that its bounds do not allow: the profile's dotted ``key`` and, where that holds a list,
    the ``item`` of it. ``bound`` is the dotted key in security_policy.yml."""

    key: str
    item: str
    has: str
    bound: str
    most: str


def key_of(field: str) -> str:
    """``memory_bytes`` -> ``memory``, ``io_read_bytes_s`` -> ``io_read``: fields carry their unit, keys do not."""
    if field.endswith("_ops_s"):
        return field.removesuffix("_s")
    return field.removesuffix("_s").removesuffix("_bytes")


def format_limit(field: str, value: float) -> str:
    """As a person would write it."""
    if field in OFF_FIELDS and not value:
        return "all"
    if field.endswith("_bytes_s"):
        return f"{format_size(int(value))}/s"
    if field.endswith("_ops_s"):
        return f"{value:.10g}/s"
    if field.endswith("_bytes"):
        return format_size(int(value))
    if field.endswith("_s"):
        return format_duration(value)
    return f"{value:.10g}"


def enforce_bounds(policy: Policy, origins: Mapping[str, str] = _NOWHERE) -> None:
    """Raises ProfileError naming every excess and where both sides are written. ``origins`` maps a key, or a key with
    its item after a dot, to "file:line" or "command line"."""
    excesses = tuple(find_excesses(policy))
    if not excesses:
        return
    written = dict(policy.bounds.origins)
    lines = []
    for excess in excesses:
        place = origins.get(f"{excess.key}.{excess.item}") or origins.get(excess.key) or f"profile {policy.name}"
        bound_place = written.get(excess.bound, "security_policy.yml")
        lines.append(f"{excess.key}: {excess.has} ({place}); allowed: {excess.most} ({bound_place})")
    raise ProfileError(
        f"{policy.name} asks for more than the security policy allows",
        "\n      ".join(lines),
        "ask for less where it is stated, or raise the bound: docs/profile.md#security-policy",
    )


def find_excesses(policy: Policy) -> Iterator[Excess]:
    """Everything in ``policy`` that ``policy.bounds`` does not allow."""
    yield from _limits(policy)
    yield from _names(policy)
    yield from _calls(policy)
    yield from _paths(policy)
    if policy.network.allow:
        yield from _network(policy)
    if policy.filesystem.work_exec and not policy.bounds.work_exec:
        yield Excess("filesystem.work_exec", "", "true", "filesystem.work_exec", "false")


def _limits(policy: Policy) -> Iterator[Excess]:
    for field, most in policy.bounds.limits:
        value: float = getattr(policy.limits, field)
        if value > most or value <= 0:  # 0 is ``all`` of the host's
            key = f"limits.{key_of(field)}"
            yield Excess(key, "", format_limit(field, value), key, f"at most {format_limit(field, most)}")


def _names(policy: Policy) -> Iterator[Excess]:
    """Lists of names, each of which must be in the bound's list."""
    bounds = policy.bounds
    for name in policy.optional:
        if name in bounds.required:
            yield Excess("optional", name, name, "required", f"no run without {name}")
    for key, has, bound, allowed in (
        ("rootfs.recipe", (policy.rootfs.recipe,), "rootfs.recipes", bounds.recipes),
        ("syscalls.groups", policy.syscalls.groups, "syscalls.groups", bounds.groups),
        ("network.dns", policy.network.dns, "network.dns", bounds.dns),
        ("environment.pass", policy.environment.passed, "environment.pass", bounds.pass_environment),
        ("limits.without_cgroup", (policy.limits.without_cgroup,), "limits.without_cgroup", bounds.without_cgroup),
    ):
        for name in has:
            if allowed is not None and name not in allowed:
                yield Excess(key, name, name, bound, _any_of(allowed))


def _calls(policy: Policy) -> Iterator[Excess]:
    """Single calls. Bounded groups bound them too, or ``allow: [execve]`` would undo a bound that leaves out @exec."""
    bounds = policy.bounds
    if not policy.syscalls.allow or (bounds.calls is None and bounds.groups is None):
        return
    from hivebox.policy.syscall_groups import members  # noqa: PLC0415  # few profiles name single calls

    allowed = {*(bounds.calls or ()), *(call for group in bounds.groups or () for call in members(group))}
    most = _any_of((*(bounds.groups or ()), *(bounds.calls or ())))
    for name in policy.syscalls.allow:
        if name not in allowed:
            yield Excess("syscalls.allow", name, name, "syscalls.calls", most)


def _paths(policy: Policy) -> Iterator[Excess]:
    bounds = policy.bounds
    for mount in policy.filesystem.mounts:
        mode = "read_write" if mount.mode == "read_write" else "read_only"
        allowed = bounds.read_write if mode == "read_write" else bounds.read_only
        if allowed is not None and not _is_below(mount.source, allowed):
            key = f"filesystem.{mount.mode}"
            yield Excess(key, mount.source, mount.source, f"filesystem.{mode}", _any_of(allowed))
    # The root is built from the interpreter's own directories: a made-up one would copy any path into it.
    interpreter = policy.rootfs.interpreter
    if interpreter and bounds.read_only is not None:
        allowed = (*bounds.read_only, "/usr")
        if not _is_below(interpreter, allowed):
            yield Excess("rootfs.interpreter", "", interpreter, "filesystem.read_only", _any_of(allowed))


def _network(policy: Policy) -> Iterator[Excess]:
    """Rules that name more than a bound does."""
    from hivebox.policy.hosts import covers, covers_range  # noqa: PLC0415  # few policies have rules

    bounds = policy.bounds
    for rule in policy.network.allow:
        item, key = rule.text(), "network.allow"
        if rule.host_loopback and not bounds.host_loopback:
            yield Excess(key, item, f"{item} on this host's loopback", "network.host_loopback", "false")
        elif rule.host and bounds.hosts is not None and not any(covers(each, rule.host) for each in bounds.hosts):
            yield Excess(key, item, item, "network.hosts", _any_of(bounds.hosts))
        elif rule.cidr and bounds.cidrs is not None and not any(covers_range(each, rule.cidr) for each in bounds.cidrs):
            yield Excess(key, item, item, "network.cidrs", _any_of(bounds.cidrs))


def _is_below(path: str, directories: tuple[str, ...]) -> bool:
    return any(is_within(path, directory) for directory in directories)


def _any_of(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "nothing"
