"""The run's control group: made, limited, joined, reached, removed. Which way was taken, and why not another."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, NoReturn

from hivebox.doctor import causes, groups
from hivebox.doctor.attempt import attempt
from hivebox.doctor.finding import Verdict, degraded, missing, ok
from hivebox.errors import HiveboxError
from hivebox.kernel.cgroup import Cgroup, GroupLimits, IoLimits, make
from hivebox.kernel.cgroup.devices import disks
from hivebox.policy.model import Policy

_MEMORY_BYTES = 64 << 20
_RATE_BYTES_S = 1 << 30
_POLLED = "poll (rlimits in the kernel, sums every 20 ms by the supervisor)"
_REFUSED, _ALLOWED = b"r", b"a"
_ONE = GroupLimits(_MEMORY_BYTES, 1)
_BY = {
    "cgroup-v1": "cgroup v1: memory, pids, cpuacct",
    "cgroup-v2": "cgroup v2: memory, pids, below a group of our own",
    "systemd": "cgroup v2: memory, pids, in a scope of systemd",
}


def limits(policy: Policy) -> Verdict:
    try:
        facts = attempt(lambda: _limit_one(_ONE))
    except (OSError, HiveboxError) as error:
        cause = groups.explain(error)
        return missing(cause) if policy.limits.without_cgroup == "refuse" else degraded(_POLLED, cause)
    passed_over = "; ".join(f"not {way}: {why}" for way, why in facts["refused"])
    return ok(_BY[facts["backend"]] + (f" ({passed_over})" if passed_over else ""))


def cpu(policy: Policy) -> Verdict:  # noqa: ARG001
    try:
        facts = attempt(lambda: _limit_one(_ONE._replace(cpus=1.0)))
    except (OSError, HiveboxError) as error:
        return degraded("no --cpus", groups.explain(error))
    return ok("cgroup v1: cpu.cfs_quota_us" if facts["backend"] == "cgroup-v1" else "cgroup v2: cpu.max")


def io(policy: Policy) -> Verdict:  # noqa: ARG001
    """On the disk that holds /usr, at a rate that it never reaches."""
    try:
        rates = IoLimits(_RATE_BYTES_S, _RATE_BYTES_S, devices=disks(("/usr",)))
        facts = attempt(lambda: _limit_one(_ONE._replace(io=rates)))
    except (OSError, HiveboxError) as error:
        return degraded("no --io-*", groups.explain(error))
    if facts["backend"] == "cgroup-v1":
        return ok("cgroup v1: blkio.throttle; buffered writes are not held back")
    return ok("cgroup v2: io.max; buffered writes too, on ext4")


def pids_peak(policy: Policy) -> Verdict:  # noqa: ARG001
    try:
        facts = attempt(lambda: _limit_one(_ONE))
    except (OSError, HiveboxError) as error:
        return degraded("polled", groups.explain(error))
    if facts["has_peak"]:
        return ok("pids.peak")
    missing_file = OSError(errno.ENOENT, os.strerror(errno.ENOENT), "pids.peak")
    return degraded("sampled every 50 ms", causes.old_kernel(missing_file, (6, 1)))


def pressure(policy: Policy) -> Verdict:  # noqa: ARG001
    try:
        facts = attempt(lambda: _limit_one(_ONE))
    except (OSError, HiveboxError) as error:
        return degraded("none, the report says null", groups.explain(error))
    if facts["has_pressure"]:
        return ok("cpu.pressure, memory.pressure, io.pressure")
    return degraded("none, the report says null", groups.no_pressure(facts["backend"]))


def _limit_one(limits: GroupLimits) -> dict[str, Any]:
    """A group for one process: a second one must be refused. The process stands in for a sandbox's init too."""
    group = make("doctor", limits)
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _serve(theirs)
    theirs.close()
    try:
        group.attach(pid)
        socket.send_fds(ours, [b"j"], list(group.join_fds))
        answer = ours.recv(1)
        group.settle()  # while the child lives, and with it a scope of systemd
        if answer != _REFUSED:
            raise HiveboxError(
                "a control group did not limit", "a second process got into a group for one", "report this"
            )
        return _facts(group)
    finally:
        ours.close()  # ends the child
        os.waitpid(pid, 0)
        group.reap()
        group.close()


def _facts(group: Cgroup) -> dict[str, Any]:
    usage = group.usage()
    return {
        "backend": group.backend,
        "refused": group.refused,
        "has_peak": usage.pids_peak > 0,
        "has_pressure": usage.stall_cpu_s is not None,
    }


def _serve(channel: socket.socket) -> NoReturn:
    """The process: answers, and stays until it has been measured."""
    try:
        channel.send(_join_and_fork(channel))
        channel.recv(1)
    finally:
        os._exit(0)


def _join_and_fork(channel: socket.socket) -> bytes:
    try:
        data, join_fds, _, _ = socket.recv_fds(channel, 1, 8)
        if not data:
            return _ALLOWED
        for handle in join_fds:
            os.write(handle, b"0")
        pid = os.fork()
    except OSError as error:
        return _REFUSED if error.errno == errno.EAGAIN else _ALLOWED
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return _ALLOWED
