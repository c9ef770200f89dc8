"""Where things are: state, configuration, and the data shipped beside the code.

State is 0700 and owned by the user that runs hivebox; it is never inside a sandbox's root.
"""

from __future__ import annotations

import os
import sys

from hivebox.errors import HiveboxError

SYSTEM_CONFIG = "/etc/hivebox"


def state_dir() -> str:
    """``$HIVEBOX_STATE``, else /var/lib/hivebox (root) or ``$XDG_STATE_HOME``/hivebox. Not created here."""
    override = os.environ.get("HIVEBOX_STATE")
    if override:
        return _absolute("HIVEBOX_STATE", override)
    if os.geteuid() == 0:
        return "/var/lib/hivebox"
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(_absolute("XDG_STATE_HOME", base), "hivebox")


def _absolute(name: str, path: str) -> str:
    """A relative one would be another directory, and another key, wherever the caller stands."""
    if not os.path.isabs(path):
        raise HiveboxError(f"{name} is not an absolute path", repr(path), f"set {name} to a path that starts with /")
    return os.path.normpath(path)


def config_dirs() -> tuple[str, ...]:
    """Directories searched for profiles/ and rootfs/, first match wins, before the shipped ones."""
    dirs = []
    override = os.environ.get("HIVEBOX_CONFIG")
    if override:
        if not os.path.isdir(override):  # a typing error here must not lift the bounds in its security_policy.yml
            raise HiveboxError("HIVEBOX_CONFIG is not a directory", repr(override), "mend the path, or unset it")
        dirs.append(os.path.abspath(override))
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    dirs.append(os.path.join(os.path.abspath(base), "hivebox"))
    dirs.append(SYSTEM_CONFIG)
    return tuple(dirs)


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
    """Create ``path`` as 0700 if missing, and missing parents likewise; return it."""
    if not os.path.isdir(path):
        previous = os.umask(0o077)  # makedirs gives its mode to the last directory only
        try:
            os.makedirs(path, exist_ok=True)
        finally:
            os.umask(previous)
    return path
