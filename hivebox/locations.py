"""Where things are: state, configuration, and the data shipped beside the code.

State is 0700 and owned by the user that runs hivebox; it is never inside a sandbox's root. Configuration belongs to
that user or to root. Both are looked at here, before anything in them is read or written: a variable may name a
directory of somebody else (``sudo -E``, a cron line), who would then say what root does, or where.
"""

from __future__ import annotations

import os
import stat
import sys

from hivebox.errors import HiveboxError

SYSTEM_CONFIG = "/etc/hivebox"
OTHERS_WRITE = 0o022
_OVERFLOW_ID = 65534  # who is not in this user namespace has this uid


def state_dir() -> str:
    """``state_path``, canonical; not created here. Raises HiveboxError unless it is this user's alone, and, for root,
    nobody else can put another directory in its place."""
    path = state_path()
    real = os.path.realpath(path)
    hint = "set HIVEBOX_STATE to a directory of yours"
    if os.path.exists(real):
        _refuse_foreign("state directory", real, (os.geteuid(),), hint)
    if os.geteuid() == 0:
        for parent in dict.fromkeys((*_upwards(path), *_upwards(real))):
            _refuse_replaceable(parent, hint)
    return real


def state_path() -> str:
    """``$HIVEBOX_STATE``, else /var/lib/hivebox (root) or ``$XDG_STATE_HOME``/hivebox: a name alone."""
    override = os.environ.get("HIVEBOX_STATE")
    if override:
        return _absolute("HIVEBOX_STATE", override)
    if os.geteuid() == 0:
        return "/var/lib/hivebox"
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(_home(), ".local/state")
    return os.path.join(_absolute("XDG_STATE_HOME, or HOME,", base), "hivebox")


def _home() -> str:
    """Of the user whose rights this process has; root's is not for the environment to say. Not absolute where nobody
    says one, as for a uid without a passwd entry."""
    if os.geteuid() != 0:
        return os.path.expanduser("~")
    import pwd  # noqa: PLC0415  # only root needs it

    try:
        return pwd.getpwuid(0).pw_dir
    except KeyError:
        return "/root"


def _absolute(name: str, path: str) -> str:
    """A relative one would be another directory, and another key, wherever the caller stands."""
    if not os.path.isabs(path):
        raise HiveboxError(f"{name} is not an absolute path", repr(path), f"set {name} to a path that starts with /")
    return os.path.normpath(path)


def _upwards(path: str) -> list[str]:
    """``path`` and every directory above it."""
    found = [path]
    while path != "/":
        path = os.path.dirname(path)
        found.append(path)
    return found


def _refuse_foreign(kind: str, path: str, owners: tuple[int, ...], hint: str) -> None:
    why = foreign(os.stat(path), owners)
    if why:
        raise HiveboxError(f"refusing a {kind} that others can change", f"{path}: {why}", hint)


def foreign(status: os.stat_result, owners: tuple[int, ...]) -> str:
    """Why somebody who is not one of ``owners`` may change this file, "" if nobody may. A granted POSIX ACL shows in
    the group bits (acl(5), the mask)."""
    return owned_by_another(status, owners) or open_to_others(status, OTHERS_WRITE)


def owned_by_another(status: os.stat_result, owners: tuple[int, ...]) -> str:
    """ "" if it is one of theirs."""
    owner = status.st_uid
    return "" if owner in owners else f"owned by uid {owner}, not by {os.geteuid()} who runs hivebox"


def open_to_others(status: os.stat_result, forbidden_mode: int) -> str:
    """ "" if its mode has nothing of ``forbidden_mode``."""
    mode = stat.S_IMODE(status.st_mode)
    return f"mode {mode:04o} lets other users in" if mode & forbidden_mode else ""


def _refuse_replaceable(path: str, hint: str) -> None:
    """Root's own directory may be there now, and another of root's in a moment, if this is a tenant's link or lies in
    a tenant's directory."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    open_to_all = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
    if open_to_all or not (status.st_uid == 0 or (status.st_uid == _OVERFLOW_ID and _in_user_namespace())):
        why = f"{path}: owned by uid {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}"
        raise HiveboxError("refusing a state directory below one that others can change", why, hint)


def _in_user_namespace() -> bool:
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split() != ["0", "0", "4294967295"]


def config_dirs() -> tuple[str, ...]:
    """Directories searched for profiles/ and rootfs/, first match wins, before the shipped ones. Raises HiveboxError
    for one that anybody but this user and root may change."""
    dirs = []
    override = os.environ.get("HIVEBOX_CONFIG")
    if override:
        if not os.path.isdir(override):  # a typing error here must not lift the bounds in its security_policy.yml
            raise HiveboxError("HIVEBOX_CONFIG is not a directory", repr(override), "mend the path, or unset it")
        dirs.append(_absolute("HIVEBOX_CONFIG", override))
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(_home(), ".config")
    if os.path.isabs(base):  # else it would be what the directory says in which the caller stands
        dirs.append(os.path.join(os.path.normpath(base), "hivebox"))
    dirs.append(SYSTEM_CONFIG)
    for path in (os.path.join(directory, name) for directory in dirs for name in ("", "profiles", "rootfs")):
        if os.path.isdir(path):
            _refuse_foreign("configuration directory", path, _configurers(), f"chmod go-w {path}, or remove it")
    return tuple(dirs)


def check_config_file(path: str, status: os.stat_result) -> None:
    """As for its directory. What is elsewhere somebody named, and it is theirs to trust."""
    if any(path.startswith(f"{directory}/") for directory in config_dirs()):
        why = foreign(status, _configurers())
        if why:
            hint = f"chmod go-w {path}, or remove it"
            raise HiveboxError("refusing a configuration file that others can change", f"{path}: {why}", hint)


def _configurers() -> tuple[int, ...]:
    return (os.geteuid(), 0)


def shipped_dir(kind: str) -> str:
    """``profiles`` or ``rootfs``: beside the package in a checkout, under share/hivebox when installed."""
    checkout = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), kind)
    if os.path.isdir(checkout):
        return checkout
    return os.path.join(sys.prefix, "share", "hivebox", kind)


def code_dirs() -> tuple[str, ...]:
    """What hivebox runs and imports, and the data shipped with it. Of ``sys.path`` only directories of installed
    packages: one that a program put there for itself may have its data below."""
    installed = (path for path in sys.path if os.path.basename(path) in {"site-packages", "dist-packages"})
    environment = (sys.prefix,) if sys.prefix != sys.base_prefix else ()
    base = (os.path.join(sys.base_prefix, name) for name in ("bin", "lib", "lib64"))
    package = os.path.dirname(os.path.abspath(__file__))
    return (package, shipped_dir("profiles"), shipped_dir("rootfs"), os.path.dirname(os.__file__),
            *environment, *base, *installed)  # fmt: skip


def find_shipped(kind: str, name: str) -> str | None:
    """The file ``<dir>/<kind>/<name>.yaml`` of the first directory that has it, or None."""
    for directory in (*(os.path.join(base, kind) for base in config_dirs()), shipped_dir(kind)):
        candidate = os.path.join(directory, name + ".yaml")
        if os.path.isfile(candidate):
            return candidate
    return None


def make_private_dir(path: str) -> str:
    """Create ``path`` as 0700 if missing, and missing parents likewise; return it. Raises HiveboxError when it is
    there and is a link, or another user's."""
    if not os.path.isdir(path):
        previous = os.umask(0o077)  # makedirs gives its mode to the last directory only
        try:
            os.makedirs(path, exist_ok=True)
        finally:
            os.umask(previous)
    return check_own_dir(path)


def check_own_dir(path: str) -> str:
    """Raises HiveboxError unless a directory itself is at ``path`` (no link to one), and this user's alone."""
    status = os.lstat(path)
    why = foreign(status, (os.geteuid(),)) if stat.S_ISDIR(status.st_mode) else "not a directory, or a link to one"
    if why:
        raise HiveboxError("refusing a part of the state directory", f"{path}: {why}", "remove it, or move it back")
    return path
