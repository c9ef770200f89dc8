"""The run's control group: made, limited, joined, reached, removed."""

from __future__ import annotations

import errno
import os
from typing import Any

from hivebox.doctor import causes, host
from hivebox.doctor.attempt import attempt
from hivebox.doctor.finding import Cause, Verdict, degraded, missing, ok
from hivebox.errors import HiveboxError
from hivebox.kernel.cgroup import GroupLimits, make, own_groups
from hivebox.policy.model import Policy

_ROOT = "/sys/fs/cgroup"
_MEMORY_BYTES = 64 << 20
_POLLED = "poll (rlimits in the kernel, sums every 20 ms by the supervisor)"


def limits(policy: Policy) -> Verdict:
    try:
        attempt(lambda: _limit_one(0.0))
    except (OSError, HiveboxError) as error:
        cause = _explain(error)
        return missing(cause) if policy.limits.without_cgroup == "refuse" else degraded(_POLLED, cause)
    return ok("cgroup v1: memory, pids, cpuacct")


def cpu(policy: Policy) -> Verdict:  # noqa: ARG001
    try:
        attempt(lambda: _limit_one(1.0))
    except (OSError, HiveboxError) as error:
        return degraded("no --cpus", _explain(error))
    return ok("cgroup v1: cpu.cfs_quota_us")


def pids_peak(policy: Policy) -> Verdict:  # noqa: ARG001
    try:
        facts = attempt(lambda: _limit_one(0.0))
    except (OSError, HiveboxError) as error:
        return degraded("polled", _explain(error))
    if facts["pids_peak"]:
        return ok("cgroup v1: pids.peak")
    missing_file = OSError(errno.ENOENT, os.strerror(errno.ENOENT), "pids.peak")
    return degraded("none, the report says 0", causes.old_kernel(missing_file, (6, 11)))


def _limit_one(cpus: float) -> dict[str, Any]:
    """A group for one process: a second one must be refused."""
    group = make("doctor", GroupLimits(_MEMORY_BYTES, 1, cpus))
    try:
        pid = os.fork()
        if pid == 0:
            os._exit(_join_and_fork(group.join_fds))
        status = os.waitpid(pid, 0)[1]
        if os.waitstatus_to_exitcode(status) != 0:
            raise HiveboxError(
                "a control group did not limit", "a second process got into a group for one", "report this"
            )
        return {"pids_peak": group.usage().pids_peak}
    finally:
        group.close()


def _join_and_fork(join_fds: tuple[int, ...]) -> int:
    try:
        for handle in join_fds:
            os.write(handle, b"0")
        pid = os.fork()
    except OSError as error:
        return 0 if error.errno == errno.EAGAIN else 1
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return 1


def _explain(error: OSError | HiveboxError) -> Cause:
    failed = causes.plain(error).why
    if os.path.exists(f"{_ROOT}/cgroup.controllers"):
        why = f"{failed}: this host has cgroup v2, and this version of hivebox can only use v1"
        return Cause(why, "none yet: limits are polled, or boot with systemd.unified_cgroup_hierarchy=0")
    if not os.path.isdir(f"{_ROOT}/memory"):
        return _not_mounted(failed)
    if "(EROFS)" in failed:
        fix = "docker run -v /sys/fs/cgroup:/sys/fs/cgroup:rw ..."
        return Cause(f"{failed}: the control groups are mounted read-only, as in a container", fix)
    if "(EACCES)" in failed or "(EPERM)" in failed:
        why = f"{failed}: no control group is delegated to this user"
        return Cause(why, f"sudo scripts/delegate-cgroup {host.user_name()}")
    return causes.plain(error)


def _not_mounted(failed: str) -> Cause:
    if "memory" not in own_groups():
        why = f"{failed}: this kernel offers no v1 memory controller"
        return Cause(why, "none yet: limits are polled on this host")
    fix = "docker run -v /sys/fs/cgroup:/sys/fs/cgroup:rw ...   (or mount the v1 hierarchies)"
    return Cause(f"{failed}: no control groups are mounted on {_ROOT}", fix)
