"""What the host says about itself: only ever to explain a failure, never to predict one."""

from __future__ import annotations

import os
import pwd

from hivebox.kernel import mountinfo

Version = tuple[int, int]


def sysctl(name: str) -> str:
    """``kernel.unprivileged_userns_clone`` -> ``1``; "" where this kernel has no such knob."""
    try:
        with open("/proc/sys/" + name.replace(".", "/"), encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def kernel_version() -> Version:
    """``6.1.0-28-amd64`` -> (6, 1)."""
    major, minor = os.uname().release.split("-")[0].split(".")[:2]
    return int(major), int("".join(filter(str.isdigit, minor)))


def container() -> str:
    """What makes this look like a container, "" if nothing does."""
    for marker in ("/.dockerenv", "/run/.containerenv"):
        if os.path.exists(marker):
            return f"{marker} exists"
    try:
        with open("/proc/1/cgroup", encoding="utf-8") as file:
            groups = file.read()
    except OSError:
        return ""
    for word in ("docker", "kubepods", "containerd", "libpod", "lxc"):
        if word in groups:
            return f"/proc/1/cgroup names {word}"
    return ""


def is_filtered() -> bool:
    """Whether a seccomp filter is already in force on this process."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        return any(line.split() == ["Seccomp:", "2"] for line in file)


def apparmor_profile() -> str:
    """The AppArmor profile that holds this process, "" if none does: ``name (enforce)``."""
    for path in ("/proc/self/attr/apparmor/current", "/proc/self/attr/current"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                name, _, mode = file.read().strip("\0\n").rpartition(" ")
        except OSError:  # no such module, or one that answers for nobody
            continue
        return name if mode == "(enforce)" else ""
    return ""


def covered_proc() -> list[str]:
    """Mount points below /proc: each makes the kernel refuse a fresh /proc in a user namespace."""
    points = {mounted.point for mounted in mountinfo.read()}
    return sorted(point for point in points if point.startswith("/proc/") and point != "/proc/sys/fs/binfmt_misc")


def maps_uid(uid: int) -> bool:
    """Whether ``uid`` exists in the user namespace we are in."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        ranges = [[int(field) for field in line.split()] for line in file]
    return any(first <= uid < first + count for first, _, count in ranges)


def has_systemd() -> bool:
    """sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")


def is_root_group(path: str) -> bool:
    """Of the whole hierarchy, and not only of a cgroup namespace: cgroup.type exists in all others."""
    return not os.path.exists(f"{path}/cgroup.type")


def words_of(path: str) -> list[str]:
    """Of a small file; none where there is none."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []


def user_name() -> str:
    """For commands that take a user."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
