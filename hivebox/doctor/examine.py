"""The table of controls, and going through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from hivebox.doctor import causes, cgroup, mounts, namespaces, processes, sandbox, state, syscalls
from hivebox.doctor.finding import MISSING, OK, Cause, Finding, Verdict, missing
from hivebox.errors import HiveboxError
from hivebox.policy.model import Policy

PROFILE = "default"


class Check(NamedTuple):
    """One control. It is only tried when none that it ``needs`` is missing; where one that it is ``part_of`` fails, it
    fails for that reason."""

    control: str
    probe: Callable[[Policy], Verdict]
    needs: tuple[str, ...] = ()
    part_of: str = ""


CHECKS = (
    Check("namespaces.user", namespaces.user),
    Check("identity", namespaces.identity, ("namespaces.user",)),
    Check("namespaces.mount", namespaces.other("mnt"), ("identity",)),
    Check("namespaces.pid", namespaces.other("pid"), ("identity",)),
    Check("namespaces.network", namespaces.other("net"), ("identity",)),
    Check("namespaces.ipc", namespaces.other("ipc"), ("identity",)),
    Check("namespaces.uts", namespaces.other("uts"), ("identity",)),
    Check("namespaces.cgroup", namespaces.cgroup, ("identity",)),
    Check("paths.openat2", mounts.openat2),
    Check("mounts.tmpfs", mounts.tmpfs, ("namespaces.mount",)),
    Check("mounts.proc", mounts.proc, ("namespaces.mount",)),
    Check("mounts.bind", mounts.descriptors, ("namespaces.mount",)),
    Check("mounts.overlay", mounts.overlay, ("namespaces.mount",)),
    Check("mounts.idmapped", mounts.idmapped, ("namespaces.mount",)),
    Check("pidfd", processes.pidfd),
    Check("syscalls.filter", syscalls.filtered),
    Check("syscalls.compiler", syscalls.compiler),
    Check("landlock", syscalls.landlock),
    Check("cgroup", cgroup.limits),
    Check("cgroup.cpu", cgroup.cpu, part_of="cgroup"),
    Check("cgroup.io", cgroup.io, part_of="cgroup"),
    Check("cgroup.pids_peak", cgroup.pids_peak, part_of="cgroup"),
    Check("cgroup.pressure", cgroup.pressure, part_of="cgroup"),
    Check("rlimits.nproc", processes.nproc, ("namespaces.pid",)),
    Check("memfd", processes.memfd),
    Check("state", state.directory),
    Check("audit.signer", state.signer),
    Check("audit.key", state.key),
    Check("audit.ledger", state.ledger),
    Check("audit.clock", state.clock),
    Check("profile", state.profile),
    Check("rootfs", state.rootfs),
    Check(
        "sandbox", sandbox.whole, ("identity", "paths.openat2", "mounts.bind", "pidfd", "syscalls.filter", "profile")
    ),
)


def examine() -> Iterator[Finding]:
    """One finding per control, in the order of the table, as each is found."""
    policy = _policy()
    fixes: dict[str, str] = {}
    failed = set()
    for check in CHECKS:
        absent = next((control for control in check.needs if control in fixes), "")
        not_tried = Cause(f"not tried: it needs {absent}", fixes.get(absent, ""))
        verdict = missing(not_tried) if absent else _probe(check, policy)
        if verdict.status == MISSING:
            fixes[check.control] = verdict.fix
        if verdict.status != OK:
            failed.add(check.control)
            verdict = verdict._replace(why=f"as for {check.part_of}") if check.part_of in failed else verdict
        yield Finding(check.control, *verdict)


def _policy() -> Policy:
    """Not from load_policy, which would leave it in the cache."""
    try:
        from hivebox.policy.profile import compile_profile  # noqa: PLC0415  # needs packages; see _probe

        return compile_profile(PROFILE).policy
    except (HiveboxError, ImportError):
        return Policy(name=PROFILE)  # the check of the profile says what is wrong with it


def _probe(check: Check, policy: Policy) -> Verdict:
    """Where not even the probe works, that is the finding: the doctor goes on to the next control."""
    try:
        return check.probe(policy)
    except ImportError as error:
        return missing(Cause(f"a Python package is not installed: {error}", "scripts/setup"))
    except (OSError, HiveboxError) as error:
        return missing(causes.plain(error))
