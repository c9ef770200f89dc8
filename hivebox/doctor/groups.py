"""Why no control group could be made, and the command that mends it."""

from __future__ import annotations

import os

from hivebox.doctor import causes, host
from hivebox.doctor.finding import Cause
from hivebox.errors import HiveboxError
from hivebox.kernel.cgroup import own_groups
from hivebox.kernel.cgroup.delegated import mount_point

_ROOT = "/sys/fs/cgroup"
_READ_ONLY_FIX = "docker run -v /sys/fs/cgroup:/sys/fs/cgroup:rw ..."


def explain(error: OSError | HiveboxError) -> Cause:
    """By what the host is: with v1 hierarchies, with v2, or with neither."""
    plain = causes.plain(error)
    failed = plain.why
    if "(EROFS)" in failed:
        return _read_only(failed)
    if "disk I/O of" in failed:
        return plain
    if "memory" in own_groups():
        return _explain_v1(failed, plain)
    try:
        mount = mount_point()
    except HiveboxError:
        return _not_mounted(failed)
    return _explain_v2(failed, plain, mount)


def _explain_v1(failed: str, plain: Cause) -> Cause:
    if not os.path.isdir(f"{_ROOT}/memory"):
        return _not_mounted(failed)
    if "(EACCES)" in failed or "(EPERM)" in failed:
        return Cause(f"{failed}: no control group is delegated to this user", _delegate())
    return plain


def _explain_v2(failed: str, plain: Cause, mount: str) -> Cause:
    offered = host.words_of(f"{mount}/cgroup.controllers")
    absent = [name for name in ("memory", "pids") if name not in offered]
    if absent and host.is_root_group(mount):
        why = f"{failed}: this kernel offers no cgroup controller {', '.join(absent)}"
        return Cause(why, "take cgroup_disable= off the kernel's command line, or boot with cgroup_enable=memory")
    if "cgroup controller" in failed:
        return Cause(f"{failed}: systemd gives users cpu, memory and pids, unless told otherwise", _delegate())
    if host.has_systemd() and "systemd does not run" in failed:
        why = f"{failed}: this user has no systemd of their own, as after su or in a cron job"
        return Cause(why, f"sudo loginctl enable-linger {host.user_name()}   (needs the package libpam-systemd)")
    if not host.has_systemd() and os.statvfs(mount).f_flag & os.ST_RDONLY:
        return _read_only(failed)
    if not host.has_systemd():
        why = f"{failed}: nobody here delegates control groups"
        return Cause(why, f"{_delegate()} $(cat {mount}/cgroup.procs)   (moves these processes into the group)")
    return plain


def _read_only(failed: str) -> Cause:
    return Cause(f"{failed}: the control groups are mounted read-only, as in a container", _READ_ONLY_FIX)


def _delegate() -> str:
    return f"sudo scripts/delegate-cgroup {host.user_name()}"


def _not_mounted(failed: str) -> Cause:
    if "memory" not in own_groups() and "" not in own_groups():
        return Cause(f"{failed}: this kernel offers no control groups", "use a kernel with CONFIG_CGROUPS")
    fix = f"{_READ_ONLY_FIX}   (or: mount -t cgroup2 cgroup2 {_ROOT})"
    return Cause(f"{failed}: no control groups are mounted on {_ROOT}", fix)


def no_pressure(backend: str) -> Cause:
    """PSI: accounting/psi.rst in the kernel's documentation."""
    if backend == "cgroup-v1":
        why = "cpu.pressure: cgroup v1 does not measure it"
        return Cause(why, "boot with systemd.unified_cgroup_hierarchy=1: control groups are then v2")
    return Cause("cpu.pressure: the kernel was built without it, or it is off", "boot with psi=1")
