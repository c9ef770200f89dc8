"""What passes between the parts: the resolved policy of one profile, frozen and complete.

NamedTuples rather than dataclasses or msgspec Structs: this module is on the ``hivebox run`` path,
where ``import dataclasses`` costs 12 ms and ``import msgspec`` 35 ms (docs/performance.md).
No field is optional for want of a value: a Policy always says what happens.
"""

from __future__ import annotations

from hivebox.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Rootfs(Frozen):
    """``rootfs:`` which read-only root. ``recipe`` names rootfs/<recipe>.yaml; ``interpreter`` is an absolute
    path, or "" for the recipe's own choice."""

    recipe: str = "python"
    interpreter: str = ""


class Mount(Frozen):
    """One granted path. ``mode`` is ``read_only``, ``read_write`` or ``overlay``; both paths are absolute, normal."""

    source: str
    dest: str
    mode: str


class Filesystem(Frozen):
    """``filesystem:`` granted paths, and whether files in the work directory may be executed or mapped executable."""

    mounts: tuple[Mount, ...] = ()
    work_exec: bool = False


class Allow(Frozen):
    """One rule of ``network: allow:``. Either ``host`` (canonical, or ``*.`` and a domain) or ``cidr`` (an address or a
    range); ``sni`` is ``required``, ``any`` or "" (by the port: docs/profile.md#network); with ``host_loopback`` the
    name stands for the loopback of the host itself. ``rate_bytes_s``, ``max_bytes`` and ``max_connections`` count both
    directions of all connections under the rule; 0 sets none beyond what holds for every run."""

    host: str = ""
    cidr: str = ""
    ports: tuple[int, ...] = ()
    protocol: str = "tcp"
    sni: str = ""
    host_loopback: bool = False
    rate_bytes_s: int = 0
    max_bytes: int = 0
    max_connections: int = 0

    def text(self) -> str:
        """As --allow-net spells it; reports and events name a rule so."""
        target = self.host or (self.cidr if ":" not in self.cidr else "[{}]{}{}".format(*self.cidr.partition("/")))
        scheme = "udp://" if self.protocol == "udp" else ""
        return f"{scheme}{target}:{','.join(map(str, self.ports))}"


class Network(Frozen):
    """``network:``. ``none`` is an empty network namespace with only ``lo``; ``allow`` is that and a relay outside,
    which knows these rules. ``none`` has no rules. ``dns`` are the addresses of the name servers that the relay asks,
    instead of following the host's own configuration."""

    mode: str = "none"
    allow: tuple[Allow, ...] = ()
    dns: tuple[str, ...] = ()


class Syscalls(Frozen):
    """``syscalls:`` group names (with @), single calls to add, single calls to take away, and the number of
    refused calls after which the run is killed."""

    groups: tuple[str, ...] = ("@base",)
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    kill_after: int = 256


class Limits(Frozen):
    """``limits:``, all finite but those that say ``all`` with 0. ``io_*`` are rates on each disk that the script can
    reach. ``without_cgroup`` says what happens where no cgroup can be made: ``refuse`` the run, or ``poll`` (rlimits in
    the kernel and a polling supervisor, recorded as such)."""

    wall_time_s: float = 30.0
    cpu_time_s: float = 30.0
    memory_bytes: int = 512 << 20
    pids: int = 64
    cpus: float = 0.0  # 0.0: ``all`` of the host's, since CPU time bounds the total
    io_read_bytes_s: int = 0  # 0: ``all`` that the disk gives, as with the three below
    io_write_bytes_s: int = 0
    io_read_ops_s: int = 0
    io_write_ops_s: int = 0
    file_size_bytes: int = 64 << 20
    open_files: int = 256
    workdir_size_bytes: int = 64 << 20
    workdir_inodes: int = 10_000
    output_size_bytes: int = 10 << 20
    without_cgroup: str = "poll"


class Environment(Frozen):
    """``environment:`` variables set, as (name, value), and names passed on from the caller."""

    set: tuple[tuple[str, str], ...] = ()
    passed: tuple[str, ...] = ()


class Outputs(Frozen):
    """``outputs:`` bounds on what --out collects from the work directory."""

    max_size_bytes: int = 64 << 20
    max_files: int = 1000
    max_time_s: float = 10.0


class Bounds(Frozen):
    """What security_policy.yml lets any profile or command line grant. None means unbounded.

    ``limits`` holds (Limits field, largest value). ``read_only`` and ``read_write`` are absolute directories under
    which paths may be granted; overlay counts as read_only, and ``read_only`` includes what may be written.
    ``hosts`` (patterns) and ``cidrs`` bound what a rule of ``network: allow:`` may name, ``dns`` the name servers that
    may be asked instead of the host's. ``groups`` bounds
    ``syscalls.allow`` too: a call outside them must be in ``calls``. ``required`` names controls no profile may mark
    optional. ``origins`` says where each bound is written, as (key, "file:line").
    """

    limits: tuple[tuple[str, float], ...] = ()
    groups: tuple[str, ...] | None = None
    calls: tuple[str, ...] | None = None
    read_only: tuple[str, ...] | None = None
    read_write: tuple[str, ...] | None = None
    recipes: tuple[str, ...] | None = None
    pass_environment: tuple[str, ...] | None = None
    work_exec: bool = True
    hosts: tuple[str, ...] | None = None
    cidrs: tuple[str, ...] | None = None
    dns: tuple[str, ...] | None = None
    host_loopback: bool = True
    without_cgroup: tuple[str, ...] = ("refuse", "poll")
    required: tuple[str, ...] = ()
    origins: tuple[tuple[str, str], ...] = ()


class Policy(Frozen):
    """One profile, resolved: inheritance applied, bounds checked. ``optional`` names controls that may be skipped
    where the host lacks them (recorded when they are)."""

    name: str
    description: str = ""
    rootfs: Rootfs = Rootfs()
    filesystem: Filesystem = Filesystem()
    network: Network = Network()
    syscalls: Syscalls = Syscalls()
    limits: Limits = Limits()
    environment: Environment = Environment()
    outputs: Outputs = Outputs()
    optional: tuple[str, ...] = ()
    bounds: Bounds = Bounds()


# Controls that ``optional:`` and ``required:`` may name; every one is a step of that name. What happens without a
# control group is ``limits.without_cgroup``.
CONTROLS = ("landlock",)


def policy_to_plain(policy: Policy) -> dict[str, Any]:
    """JSON-ready form: objects for the sections, lists for tuples. Its canonical JSON is the policy's digest."""
    plain: dict[str, Any] = policy._asdict()
    for section in ("rootfs", "filesystem", "network", "syscalls", "limits", "environment", "outputs", "bounds"):
        plain[section] = plain[section]._asdict()
    plain["filesystem"]["mounts"] = [mount._asdict() for mount in policy.filesystem.mounts]
    plain["network"]["allow"] = [rule._asdict() for rule in policy.network.allow]
    return plain


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def policy_from_plain(plain: dict[str, Any]) -> Policy:
    """The inverse of ``policy_to_plain`` after a trip through JSON. Raises KeyError or TypeError on any other shape."""

    def section(name: str) -> dict[str, Any]:
        return {key: _tuples(value) for key, value in plain[name].items()}

    filesystem = section("filesystem")
    filesystem["mounts"] = tuple(Mount(**mount) for mount in plain["filesystem"]["mounts"])
    network = section("network")
    network["allow"] = tuple(
        Allow(**{key: _tuples(value) for key, value in rule.items()}) for rule in plain["network"]["allow"]
    )
    return Policy(
        name=plain["name"],
        description=plain["description"],
        rootfs=Rootfs(**section("rootfs")),
        filesystem=Filesystem(**filesystem),
        network=Network(**network),
        syscalls=Syscalls(**section("syscalls")),
        limits=Limits(**section("limits")),
        environment=Environment(**section("environment")),
        outputs=Outputs(**section("outputs")),
        optional=tuple(plain["optional"]),
        bounds=Bounds(**section("bounds")),
    )
