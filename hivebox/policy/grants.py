"""Which paths may be granted at all, whatever a profile says. Light: on the ``hivebox run`` path.

The comparisons are by component and lexical, which is sound because steps/source.py opens every source with
RESOLVE_NO_SYMLINKS: a path with a link in it cannot be mounted under another name.
"""

from __future__ import annotations

import os
import sys

from hivebox.errors import ProfileError
from hivebox.locations import code_dirs, config_dirs, state_path
from hivebox.policy.model import Mount

# A bind of the host's /proc shows its processes, and /proc/PID/root of one of them is a way out; /sys and /dev reach
# the kernel's knobs and devices. Grants are recursive, so / holds all three.
_KERNEL = ("/proc", "/sys", "/dev")
# What the sandbox mounts itself: hidden by a grant, its /proc would no longer be private and its /work not collected.
_OWN = ("/", "/work", "/tmp", "/script", "/etc")  # noqa: S108


def is_within(path: str, directory: str) -> bool:
    """Both absolute and normal: ``path`` is ``directory`` or below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def path_mistake(path: str) -> str:
    """Why ``path`` cannot be granted or mounted on, "" if it can: it must be absolute and in normal form."""
    if not path.startswith("/") or path.startswith("//"):
        return f"{path!r} is not an absolute path"
    if os.path.normpath(path) != path or "\0" in path:
        return f"{path!r} is not in normal form (no . or .., no / at the end)"
    return ""


def mount_mistake(mount: Mount) -> str:
    """Why this mount is never allowed, "" if it may be."""
    mistake = path_mistake(mount.source) or path_mistake(mount.dest)
    if mistake:
        return mistake
    if _is_kernels(mount.source):
        return f"{mount.source} holds the host's processes or devices, which are a way out of the sandbox"
    if _is_own(mount.dest):
        return f"{mount.dest} is the sandbox's own and cannot be mounted over"
    for private in private_dirs(mount.mode):
        if is_within(private, mount.source) or is_within(mount.source, private):
            return f"{private} is where hivebox keeps its keys, records, rules or code"
    if mount.mode == "read_write":
        for path in sys.path:
            if is_within(os.path.realpath(path), mount.source):
                return f"{mount.source} holds {path or 'this directory'}, where Python looks for the modules of hivebox"
    return ""


def _is_kernels(path: str) -> bool:
    return path == "/" or any(is_within(path, directory) for directory in _KERNEL)


def _is_own(dest: str) -> bool:
    return dest in _OWN or _is_kernels(dest)


def _advice(mount: Mount) -> str:
    """What helps, once ``mount_mistake`` says why it is not allowed."""
    if path_mistake(mount.source) or path_mistake(mount.dest):
        return "write the path as `realpath` shows it"
    if _is_own(mount.dest) and not _is_kernels(mount.source):
        return "mount it elsewhere: PATH:DEST"
    return "grant only what the script needs, each by itself: a directory beside or below, or a file"


def private_dirs(mode: str) -> tuple[str, ...]:
    """Never visible: the signing key and the ledger. Never writable: what says what the next run may do, and the code
    that does it; this run's supervisor, too, has modules still to import."""
    private = (state_path(), *((*config_dirs(), *code_dirs()) if mode == "read_write" else ()))
    return tuple(dict.fromkeys(os.path.realpath(path) for path in private))


def check_grants(mounts: tuple[Mount, ...]) -> None:
    """Raises ProfileError for the first mount that is never allowed, and for two on one destination."""
    taken: dict[str, Mount] = {}
    for mount in mounts:
        mistake = mount_mistake(mount)
        if mistake:
            raise ProfileError(f"cannot grant {mount.source}", mistake, _advice(mount))
        other = taken.setdefault(mount.dest, mount)
        if other is not mount:
            raise ProfileError(
                f"cannot grant {mount.source}",
                f"{mount.dest} is taken by {other.source} ({other.mode})",
                "give one of them another destination, as PATH:DEST",
            )
