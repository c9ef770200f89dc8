"""What may be written in a profile and in security_policy.yml: keys, types, and what to say when they are wrong.

The structs are the schema: ``decode`` checks files against them, ``json_schema`` prints them for editors. A leaf's
``Meta.extra`` holds ``expected`` (for the error) and ``read``, which turns what is written into what the policy holds
or raises HiveboxError.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from hivebox.errors import HiveboxError
from hivebox.policy.bounds import LIMIT_RANGES, format_limit
from hivebox.policy.grants import path_mistake
from hivebox.policy.hosts import check_rule, read_cidr, read_pattern, read_port, read_server
from hivebox.policy.load import check_variable
from hivebox.policy.model import CONTROLS, Allow, Limits
from hivebox.policy.syscall_groups import GROUPS
from hivebox.policy.syscall_numbers import all_names
from hivebox.units import parse_duration, parse_size

_SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)? ?([KMGT]i?)?B?$"
_DURATION_PATTERN = r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|min|h|d)?$"


def did_you_mean(name: str, known: Any) -> str:
    """A hint: the nearest known name, or all of them when they are few."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1)
    if close:
        return f"did you mean {close[0]}?"
    return f"one of {', '.join(names)}" if len(names) <= 16 else ""  # what fits on a line or two


def _read_group(name: str) -> str:
    if name not in GROUPS:
        raise HiveboxError(f"no such group of system calls: {name}", "", did_you_mean(name, GROUPS))
    return name


def _read_call(name: str) -> str:
    if name not in all_names():
        raise HiveboxError(f"no such system call: {name}", "", did_you_mean(name, all_names()))
    return name


def _read_path(path: str) -> str:
    mistake = path_mistake(path) or ("" if path.isprintable() else f"{path!r} has a control character in it")
    if mistake:
        raise HiveboxError(mistake, "", "write an absolute path, as /srv/data")
    return path


def _read_grant(text: str) -> tuple[str, str]:
    """``PATH`` or ``PATH:DEST`` -> both."""
    source, _, dest = text.partition(":")
    return _read_path(source), _read_path(dest or source)


def _read_variable(name: str) -> str:
    check_variable(name)
    if not name.isprintable():
        raise HiveboxError(f"{name!r} has a control character in it", "", "write a plain name")
    return name


def _read_value(value: str) -> str:
    if "\0" in value:
        raise HiveboxError("a variable cannot hold a NUL character", "", "remove \\0")
    return value


def _read_recipe(name: str) -> str:
    if not name or not all(c.isalnum() or c in "-_." for c in name) or name.startswith("."):
        raise HiveboxError(f"not the name of a recipe: {name!r}", "", "python, shell, node and host come with hivebox")
    return name


def _within(field: str, read: Any) -> Any:
    """``read``, then the range that hivebox can apply."""
    least, most = LIMIT_RANGES[field]

    def checked(value: Any) -> Any:
        result = read(value)
        if not least <= result <= most:
            span = f"from {format_limit(field, least)} to {format_limit(field, most)}"
            raise HiveboxError(f"{value!r} is out of range", "", f"give it {span}")
        return result

    return checked


def _or_all(field: str, read: Any) -> Any:
    """``all`` is 0: no limit of its own."""
    checked = _within(field, read)
    return lambda value: Limits._field_defaults[field] if value == "all" else checked(value)


_SIZE = {"pattern": _SIZE_PATTERN, "examples": ["64M", "1.5G"]}
_TIME = {"pattern": _DURATION_PATTERN, "examples": ["10s", "5m"]}
_A_SIZE = "a size, as 64M or 1.5G"
_A_TIME = "a duration, as 10s or 5m"

Size = Annotated[int | str, Meta(extra_json_schema=_SIZE, extra={"expected": _A_SIZE, "read": parse_size})]
Duration = Annotated[
    int | float | str, Meta(extra_json_schema=_TIME, extra={"expected": _A_TIME, "read": parse_duration})
]
Count = Annotated[int, Meta(ge=1, le=1_000_000, extra={"expected": "a whole number from 1 to 1000000"})]
Flag = Annotated[bool, Meta(extra={"expected": "true or false"})]
Line = Annotated[str, Meta(extra={"expected": "a text"})]
Recipe = Annotated[str, Meta(extra={"expected": "the name of a recipe", "read": _read_recipe})]
Path = Annotated[str, Meta(pattern="^/", extra={"expected": "an absolute path", "read": _read_path})]
Grant = Annotated[str, Meta(pattern="^/", extra={"expected": "an absolute PATH or PATH:DEST", "read": _read_grant})]
GroupName = Annotated[
    str,
    Meta(extra_json_schema={"enum": sorted(GROUPS)}, extra={"expected": 'a group, as "@base"', "read": _read_group}),
]
Call = Annotated[str, Meta(extra={"expected": "the name of a system call", "read": _read_call})]
Variable = Annotated[str, Meta(extra={"expected": "the name of a variable", "read": _read_variable})]
Value = Annotated[str, Meta(extra={"expected": "a text", "read": _read_value})]
Control = Annotated[Literal["landlock"], Meta(extra={"expected": f"the name of a control: {', '.join(CONTROLS)}"})]
WithoutCgroup = Annotated[Literal["refuse", "poll"], Meta(extra={"expected": "refuse or poll"})]
NetworkMode = Annotated[Literal["none", "allow"], Meta(extra={"expected": "none or allow"})]
_RELAYED = "tcp or udp: nothing else is relayed, ICMP never"
_A_PORT = "a port from 1 to 65535: each is named, there are no wildcard ports"
HostPattern = Annotated[
    str, Meta(extra={"expected": "a host name, as pypi.example or *.example.org", "read": read_pattern})
]
Cidr = Annotated[str, Meta(extra={"expected": "an address or a range, as 203.0.113.0/24", "read": read_cidr})]
Port = Annotated[
    int | str,
    Meta(
        extra_json_schema={"type": "integer", "minimum": 1, "maximum": 65535},
        extra={"expected": _A_PORT, "read": read_port},
    ),
]
_A_SERVER = "host, or a list of addresses, as [192.0.2.53]"
HostDns = Annotated[Literal["host"], Meta(extra={"expected": _A_SERVER})]
Server = Annotated[str, Meta(extra={"expected": "the address of a name server", "read": read_server})]
Protocol = Annotated[Literal["tcp", "udp"], Meta(extra={"expected": _RELAYED})]
Sni = Annotated[Literal["required", "any"], Meta(extra={"expected": "required or any"})]
Rate = Annotated[
    int | str, Meta(extra_json_schema=_SIZE, extra={"expected": "bytes a second, as 1M", "read": parse_size})
]


def _meta(field: str, text: str, expected: str, read: Any, schema: dict[str, Any] | None = None) -> Meta:
    """Of a limit: its description, and the range that hivebox can apply."""
    extra = {"expected": expected, "read": _within(field, read)}
    return Meta(description=text, extra_json_schema=schema or {}, extra=extra)


def _whole(field: str, text: str) -> Meta:
    least, most = LIMIT_RANGES[field]
    schema = {"minimum": least, "maximum": most}
    return _meta(field, text, f"a whole number from {least} to {most}", int, schema)


def _time(field: str, text: str) -> Meta:
    return _meta(field, text, _A_TIME, parse_duration, _TIME)


def _size(field: str, text: str) -> Meta:
    return _meta(field, text, _A_SIZE, parse_size, _SIZE)


def _rate(field: str, text: str) -> Meta:
    schema = {"pattern": f"{_SIZE_PATTERN}|^all$", "examples": ["10M", "all"]}
    extra = {"expected": "a size, as 10M, or all", "read": _or_all(field, parse_size)}
    return Meta(description=text, extra_json_schema=schema, extra=extra)


def _operations(field: str, text: str) -> Meta:
    return Meta(description=text, extra={"expected": "a whole number, or all", "read": _or_all(field, int)})


_CPUS = Meta(
    description="CPU bandwidth in processors, or all",
    extra={"expected": "a number of processors, as 1.5, or all", "read": _or_all("cpus", float)},
)
WallTime = Annotated[int | float | str, _time("wall_time_s", "clock time from start to end")]
CpuTime = Annotated[int | float | str, _time("cpu_time_s", "CPU time of the whole tree of processes")]
Memory = Annotated[int | str, _size("memory_bytes", "memory of the whole tree, swap included")]
Pids = Annotated[int, _whole("pids", "processes and threads at once")]
Cpus = Annotated[int | float | Literal["all"], _CPUS]
IoRead = Annotated[int | str, _rate("io_read_bytes_s", "bytes read from each disk in a second")]
IoWrite = Annotated[int | str, _rate("io_write_bytes_s", "bytes written to each disk in a second")]
IoReadOps = Annotated[int | Literal["all"], _operations("io_read_ops_s", "read operations on each disk in a second")]
IoWriteOps = Annotated[int | Literal["all"], _operations("io_write_ops_s", "write operations on each disk in a second")]
FileSize = Annotated[int | str, _size("file_size_bytes", "the largest file it may write")]
OpenFiles = Annotated[int, _whole("open_files", "open descriptors of each process")]
WorkdirSize = Annotated[int | str, _size("workdir_size_bytes", "/work, /tmp and /dev/shm together")]
WorkdirInodes = Annotated[int, _whole("workdir_inodes", "files and directories in these")]
OutputSize = Annotated[int | str, _size("output_size_bytes", "stdout and stderr together")]


class _Section(Struct, forbid_unknown_fields=True, kw_only=True):
    """Every key may be left out; what that means is said by the profile extended, or the default in model.py."""


class RootfsSection(_Section):
    """Which read-only root."""

    recipe: Recipe | UnsetType = UNSET
    interpreter: Path | UnsetType = UNSET


class FilesystemSection(_Section):
    """Paths of the host that are granted, as PATH or PATH:DEST."""

    read_only: tuple[Grant, ...] | UnsetType = UNSET
    read_write: tuple[Grant, ...] | UnsetType = UNSET
    overlay: tuple[Grant, ...] | UnsetType = UNSET
    work_exec: Flag | UnsetType = UNSET


class AllowEntry(_Section):
    """One host or range that can be reached, at these ports."""

    host: HostPattern | UnsetType = UNSET
    cidr: Cidr | UnsetType = UNSET
    ports: tuple[Port, ...] | UnsetType = UNSET
    protocol: Protocol | UnsetType = UNSET
    sni: Sni | UnsetType = UNSET
    host_loopback: Flag | UnsetType = UNSET
    rate: Rate | UnsetType = UNSET
    max_bytes: Size | UnsetType = UNSET
    max_connections: Count | UnsetType = UNSET


def read_allow(given: dict[str, Any]) -> Allow:
    """Keys and values of one entry, each read already. Raises HiveboxError."""
    fields = {{"rate": "rate_bytes_s"}.get(key, key): value for key, value in given.items()}
    return check_rule(Allow(**{**fields, "ports": tuple(dict.fromkeys(given.get("ports", ())))}))


_ALLOW = Meta(extra={"expected": "host or cidr, and ports", "entry": read_allow})


class NetworkSection(_Section):
    """What can be reached. ``allow: null`` is an empty list."""

    mode: NetworkMode | UnsetType = UNSET
    allow: tuple[Annotated[AllowEntry, _ALLOW], ...] | UnsetType | None = UNSET
    dns: HostDns | tuple[Server, ...] | UnsetType = UNSET


class SyscallsSection(_Section):
    """System calls: what no group grants is refused."""

    groups: tuple[GroupName, ...] | UnsetType = UNSET
    add_groups: tuple[GroupName, ...] | UnsetType = UNSET
    allow: tuple[Call, ...] | UnsetType = UNSET
    deny: tuple[Call, ...] | UnsetType = UNSET
    kill_after: Count | UnsetType = UNSET


class LimitsSection(_Section):
    """All finite."""

    wall_time: WallTime | UnsetType = UNSET
    cpu_time: CpuTime | UnsetType = UNSET
    memory: Memory | UnsetType = UNSET
    pids: Pids | UnsetType = UNSET
    cpus: Cpus | UnsetType = UNSET
    io_read: IoRead | UnsetType = UNSET
    io_write: IoWrite | UnsetType = UNSET
    io_read_ops: IoReadOps | UnsetType = UNSET
    io_write_ops: IoWriteOps | UnsetType = UNSET
    file_size: FileSize | UnsetType = UNSET
    open_files: OpenFiles | UnsetType = UNSET
    workdir_size: WorkdirSize | UnsetType = UNSET
    workdir_inodes: WorkdirInodes | UnsetType = UNSET
    output_size: OutputSize | UnsetType = UNSET
    without_cgroup: WithoutCgroup | UnsetType = UNSET


class EnvironmentSection(_Section):
    """Variables; nothing is inherited but what ``pass`` names."""

    set: dict[Variable, Value] | UnsetType = UNSET
    pass_: tuple[Variable, ...] | UnsetType = msgspec.field(default=UNSET, name="pass")


class OutputsSection(_Section):
    """Bounds on what --out collects."""

    max_size: Size | UnsetType = UNSET
    max_files: Count | UnsetType = UNSET
    max_time: Duration | UnsetType = UNSET


class ProfileDocument(_Section):
    """A profile of hivebox: docs/profile.md."""

    description: Line | UnsetType = UNSET
    extends: Line | UnsetType = UNSET
    rootfs: RootfsSection | UnsetType = UNSET
    filesystem: FilesystemSection | UnsetType = UNSET
    network: NetworkSection | UnsetType = UNSET
    syscalls: SyscallsSection | UnsetType = UNSET
    limits: LimitsSection | UnsetType = UNSET
    environment: EnvironmentSection | UnsetType = UNSET
    outputs: OutputsSection | UnsetType = UNSET
    optional: tuple[Control, ...] | UnsetType = UNSET


class BoundedRootfs(_Section):
    """Which recipes may be used."""

    recipes: tuple[Recipe, ...] | UnsetType = UNSET


class BoundedFilesystem(_Section):
    """Directories under which paths may be granted, and whether work_exec may be true."""

    read_only: tuple[Path, ...] | UnsetType = UNSET
    read_write: tuple[Path, ...] | UnsetType = UNSET
    work_exec: Flag | UnsetType = UNSET


class BoundedSyscalls(_Section):
    """The groups that may be granted, and the single calls beyond them."""

    groups: tuple[GroupName, ...] | UnsetType = UNSET
    calls: tuple[Call, ...] | UnsetType = UNSET


class BoundedNetwork(_Section):
    """The hosts and ranges that rules may name, the name servers that may be asked instead of the host's own, and
    whether a rule may name this host's own loopback."""

    hosts: tuple[HostPattern, ...] | UnsetType = UNSET
    cidrs: tuple[Cidr, ...] | UnsetType = UNSET
    dns: tuple[Server, ...] | UnsetType = UNSET
    host_loopback: Flag | UnsetType = UNSET


class BoundedLimits(_Section):
    """The most of each limit, and what may happen where there is no control group."""

    wall_time: WallTime | UnsetType = UNSET
    cpu_time: CpuTime | UnsetType = UNSET
    memory: Memory | UnsetType = UNSET
    pids: Pids | UnsetType = UNSET
    cpus: Annotated[int | float, _meta("cpus", "CPU bandwidth", "a number of processors", float)] | UnsetType = UNSET
    io_read: Annotated[int | str, _size("io_read_bytes_s", "bytes read in a second")] | UnsetType = UNSET
    io_write: Annotated[int | str, _size("io_write_bytes_s", "bytes written in a second")] | UnsetType = UNSET
    io_read_ops: Annotated[int, _whole("io_read_ops_s", "read operations in a second")] | UnsetType = UNSET
    io_write_ops: Annotated[int, _whole("io_write_ops_s", "write operations in a second")] | UnsetType = UNSET
    file_size: FileSize | UnsetType = UNSET
    open_files: OpenFiles | UnsetType = UNSET
    workdir_size: WorkdirSize | UnsetType = UNSET
    workdir_inodes: WorkdirInodes | UnsetType = UNSET
    output_size: OutputSize | UnsetType = UNSET
    without_cgroup: tuple[WithoutCgroup, ...] | UnsetType = UNSET


class BoundedEnvironment(_Section):
    """The variables that may be passed on from the caller."""

    pass_: tuple[Variable, ...] | UnsetType = msgspec.field(default=UNSET, name="pass")


class SecurityPolicyDocument(_Section):
    """security_policy.yml, the most that any profile or command line may grant: docs/profile.md#security-policy."""

    rootfs: BoundedRootfs | UnsetType = UNSET
    filesystem: BoundedFilesystem | UnsetType = UNSET
    network: BoundedNetwork | UnsetType = UNSET
    syscalls: BoundedSyscalls | UnsetType = UNSET
    limits: BoundedLimits | UnsetType = UNSET
    environment: BoundedEnvironment | UnsetType = UNSET
    required: tuple[Control, ...] | UnsetType = UNSET


def json_schema() -> str:
    """JSON Schema 2020-12 of a profile, for editors."""
    schema = msgspec.json.schema(ProfileDocument)
    text = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return msgspec.json.format(msgspec.json.encode(text), indent=2).decode() + "\n"
