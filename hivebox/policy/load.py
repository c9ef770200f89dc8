"""``load_policy``: the compiled policy of a profile, from the cache while nothing it came from has changed.

Light: on the ``hivebox run`` path. The parser (``profile``, with PyYAML and msgspec) is imported when it is needed.
The cache belongs to the user who runs hivebox, as does that user's right to change this program: it is no boundary
against them. Against scripts it is, since the state directory can never be granted (grants).
"""

from __future__ import annotations

import errno
import math
import os

from hivebox import __version__, plainjson
from hivebox.digest import sha256
from hivebox.errors import HiveboxError, ProfileError, from_os_error
from hivebox.locations import config_dirs, make_private_dir, shipped_dir, state_dir
from hivebox.policy.bounds import LIMIT_RANGES, enforce_bounds, format_limit, key_of
from hivebox.policy.grants import check_grants
from hivebox.policy.model import Allow, Limits, Mount, Network, Policy, policy_from_plain, policy_to_plain
from hivebox.policy.sources import Source, unchanged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FORMAT = 1
_COMMAND_LINE = "command line"
# A cache that cannot be written is not worth a failed run.
_CACHE_WRITE_ERRNOS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.ENOENT}


def is_path(name_or_path: str) -> bool:
    """A profile is named, or given as a file: then it has a slash, or ends as YAML files do."""
    return "/" in name_or_path or name_or_path.endswith((".yaml", ".yml"))


def load_policy(name_or_path: str) -> tuple[Policy, tuple[Source, ...]]:
    """The policy, within its bounds, and every file it depends on (absent ones too). Raises ProfileError."""
    wanted = os.path.abspath(name_or_path) if is_path(name_or_path) else name_or_path
    directory = os.path.join(state_dir(), "cache", "policy")
    path = os.path.join(directory, _cache_key(wanted) + ".json")
    cached = _read(path)
    if cached is None:
        from hivebox.policy.profile import compile_profile  # noqa: PLC0415  # imports PyYAML and msgspec

        compiled = compile_profile(wanted)
        cached = compiled.policy, compiled.sources
        _write(directory, path, *cached)
    check_grants(cached[0].filesystem.mounts)
    return cached


def policy_sha256(policy: Policy) -> str:
    """The digest of the effective policy, in hexadecimal: of the canonical JSON of ``policy_to_plain``."""
    return sha256(_canonical(policy_to_plain(policy))).hexdigest()


def override(
    policy: Policy,
    *,
    limits: dict[str, float | int] | None = None,
    mounts: tuple[Mount, ...] = (),
    env_set: tuple[tuple[str, str], ...] = (),
    env_pass: tuple[str, ...] = (),
    interpreter: str = "",
    allow: tuple[Allow, ...] = (),
) -> Policy:
    """The policy with what the command line (or a program) asks for: ``limits`` by field of ``Limits``, a mount in
    place of one on the same destination, variables and network rules added. Raises ProfileError for what the bounds do
    not allow."""
    changed: dict[str, Any] = limits or {}
    _check_limits(changed)
    for name in (*(name for name, _ in env_set), *env_pass):
        check_variable(name)
    destinations = {mount.dest for mount in mounts}
    kept = tuple(mount for mount in policy.filesystem.mounts if mount.dest not in destinations)
    environment = policy.environment
    result = policy._replace(
        limits=policy.limits._replace(**changed),
        filesystem=policy.filesystem._replace(mounts=(*kept, *mounts)),
        environment=environment._replace(
            set=tuple({**dict(environment.set), **dict(env_set)}.items()),
            passed=tuple(dict.fromkeys((*environment.passed, *env_pass))),
        ),
        rootfs=policy.rootfs._replace(interpreter=interpreter or policy.rootfs.interpreter),
        network=_with_rules(policy.network, allow) if allow else policy.network,
    )
    check_grants(result.filesystem.mounts)
    enforce_bounds(result, _origins(changed, mounts, env_pass, interpreter, allow))
    return result


def _origins(
    limits: dict[str, float | int],
    mounts: tuple[Mount, ...],
    env_pass: tuple[str, ...],
    interpreter: str,
    allow: tuple[Allow, ...],
) -> dict[str, str]:
    keys = [f"limits.{key_of(field)}" for field in limits]
    keys += [f"filesystem.{mount.mode}.{mount.source}" for mount in mounts]
    keys += [f"environment.pass.{name}" for name in env_pass]
    keys += ["rootfs.interpreter"] if interpreter else []
    keys += [f"network.allow.{rule.text()}" for rule in allow]
    return dict.fromkeys(keys, _COMMAND_LINE)


def _check_limits(limits: dict[str, float | int]) -> None:
    """Finite always wins: what a program passes is not parsed by units.py, and infinity would lift the limit."""
    for field, value in limits.items():
        if field not in LIMIT_RANGES:
            raise ProfileError(f"no such limit: {field}", f"the limits are {', '.join(LIMIT_RANGES)}")
        least, most = LIMIT_RANGES[field]
        whole = isinstance(Limits._field_defaults[field], int)
        if not math.isfinite(value) or not least <= value <= most or (whole and value != int(value)):
            kind = "a whole number" if whole else "a number"
            span = f"from {format_limit(field, least)} to {format_limit(field, most)}"
            raise ProfileError(f"limits.{key_of(field)} cannot be {value:g}", f"expected {kind} {span}")


def _with_rules(network: Network, added: tuple[Allow, ...]) -> Network:
    from hivebox.policy.hosts import check_rules  # noqa: PLC0415  # few runs have any

    return network._replace(mode="allow", allow=check_rules(tuple(dict.fromkeys((*network.allow, *added)))))


def check_variable(name: str) -> None:
    """Raises HiveboxError for what cannot be the name of an environment variable."""
    if not name or "=" in name or "\0" in name:
        raise HiveboxError(f"not the name of a variable: {name!r}", "it is empty or has a = in it", "write NAME")


def _canonical(plain: Any) -> bytes:
    return plainjson.dumps(plain, sort_keys=True, compact=True).encode()


def _cache_key(wanted: str) -> str:
    """Other directories, another hivebox or a changed one: another entry."""
    package = os.path.dirname(os.path.abspath(__file__))
    with os.scandir(package) as entries:
        code = sorted((entry.name, *_stamp(entry)) for entry in entries if entry.name.endswith(".py"))
    parts = [_FORMAT, __version__, code, wanted, config_dirs(), shipped_dir("profiles")]
    return sha256(_canonical(parts)).hexdigest()[:32]


def _stamp(entry: os.DirEntry[str]) -> tuple[int, int]:
    status = entry.stat()
    return status.st_size, status.st_mtime_ns


def _read(path: str) -> tuple[Policy, tuple[Source, ...]] | None:
    """None for anything that is not whole or no longer true."""
    try:
        with open(path, "rb") as file:  # pathlib is not on this path
            cached = plainjson.loads(file.read())
        policy = policy_from_plain(cached["policy"])
        sources = tuple(Source(*entry) for entry in cached["sources"])
        if cached["sha256"] != policy_sha256(policy) or not sources:
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return (policy, sources) if all(unchanged(source) for source in sources) else None


def _write(directory: str, path: str, policy: Policy, sources: tuple[Source, ...]) -> None:
    """Whole or not at all, readable by its owner only."""
    plain = {"policy": policy_to_plain(policy), "sources": sources, "sha256": policy_sha256(policy)}
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        for each in (os.path.dirname(directory), directory):
            make_private_dir(each)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with open(handle, "wb") as file:
                file.write(_canonical(plain))
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
    except OSError as error:
        if error.errno not in _CACHE_WRITE_ERRNOS:
            raise from_os_error("cannot keep the compiled profile", error, "check HIVEBOX_STATE") from error
