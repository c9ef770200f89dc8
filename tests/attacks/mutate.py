"""Plans with exactly one control removed or weakened, to see which attack then gets through.

``without("a+b")`` removes each of the controls named. A removal may change the policy (limits), the plan (steps), or,
for what is no step (closing descriptors, collecting outputs), a function for as long as the run takes: the sandbox's
init is a clone of this process and inherits it. docs/attacks.md lists the controls.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch


from hivebox.kernel import bpf, mount, process, seccomp_compile
from hivebox.plan import resolve
from hivebox.plan.plan import Plan
from hivebox.policy.model import Filesystem, Policy
from hivebox.policy.syscall_filters import SyscallRule, rules
from hivebox.report import Output
from hivebox.steps.rootfs import bind, write_file
from hivebox.steps.script import Script
from hivebox.steps.source import DEVICE, Source
from hivebox.supervise import collect

_UNLIMITED_BYTES = 1 << 40


class Removal(NamedTuple):
    """``patch`` makes a context manager that holds while the run takes."""

    policy: Callable[[Policy], Policy] = lambda policy: policy
    plan: Callable[[Plan], Plan] = lambda plan: plan
    patch: Callable[[], Any] | None = None


class Weakened(NamedTuple):
    """What a run needs: its policy goes through the first, its plan through the second."""

    policy: Callable[[Policy], Policy]
    plan: Callable[[Plan], Plan]


@contextmanager
def without(controls: str) -> Iterator[Weakened]:
    """``controls`` are joined by ``+``; "" removes none."""
    removals = [_removal(name) for name in controls.split("+") if name]

    def change_policy(policy: Policy) -> Policy:
        for removal in removals:
            policy = removal.policy(policy)
        return policy

    def change_plan(plan: Plan) -> Plan:
        for removal in removals:
            plan = removal.plan(plan)
        return plan

    with ExitStack() as stack:
        for removal in removals:
            if removal.patch:
                stack.enter_context(removal.patch())
        yield Weakened(change_policy, change_plan)


def _removal(name: str) -> Removal:
    family, _, part = name.partition(".")
    if name in CONTROLS:
        return CONTROLS[name]
    if family == "syscalls":
        return Removal(plan=lambda plan: _allow_call(plan, part))
    if family == "rlimits":
        return Removal(plan=lambda plan: _drop_rlimit(plan, part.upper()))
    raise KeyError(f"no such control: {name}")


def _step(plan: Plan, name: str) -> Any:
    return next(step for step in plan.steps if step.name == name)


def _drop(plan: Plan, name: str) -> Plan:
    return plan._replace(steps=tuple(step for step in plan.steps if step.name != name))


def _set(step_name: str, **attributes: Any) -> Removal:
    """The steps of a plan are made for one run, so they can be changed in place."""

    def change(plan: Plan) -> Plan:
        for name, value in attributes.items():
            assert hasattr(_step(plan, step_name), name), f"{step_name} has no {name} any more"
            setattr(_step(plan, step_name), name, value)
        return plan

    return Removal(plan=change)


def _limit(**values: Any) -> Removal:
    return Removal(policy=lambda policy: policy._replace(limits=policy.limits._replace(**values)))


# --- namespaces and mounts -------------------------------------------------------------------------------------------


def _namespace(kind: str) -> Removal:
    def change(plan: Plan) -> Plan:
        plan.namespaces.kinds = tuple(each for each in plan.namespaces.kinds if each != kind)
        if kind == "network":  # the step that brings up lo has nothing to bring up
            return _drop(plan, "network")
        if kind == "pid":  # proc(5) of a namespace that is not ours cannot be mounted, only bound
            _step(plan, "root")._mount_proc = _bind_host_proc
        return plan

    return Removal(plan=change)


def _bind_host_proc() -> None:
    os.mkdir("proc")
    mount.mount("/proc", "proc", "", mount.MS_BIND | mount.MS_REC)


def _more_devices(plan: Plan) -> Plan:
    rootfs = _step(plan, "root")
    terminal = Source("/dev/tty", DEVICE, _step(plan, "identity"))
    shipped = rootfs._populate_dev
    devices = rootfs._devices

    def populate() -> None:
        rootfs._devices = devices
        shipped()
        bind(terminal, "/dev/tty")

    rootfs._devices = (*devices, terminal)
    rootfs._populate_dev = populate
    return plan


def _mount_flag(step_name: str, sources: str, flag: int) -> Removal:
    def change(plan: Plan) -> Plan:
        for source in getattr(_step(plan, step_name), sources):
            source._attributes &= ~flag
        return plan

    return Removal(plan=change)


def _overlay_as_bind(policy: Policy) -> Policy:
    mounts = tuple(each._replace(mode="read_write") for each in policy.filesystem.mounts)
    return policy._replace(filesystem=policy.filesystem._replace(mounts=mounts))


def _reopen_by_path(plan: Plan) -> Plan:
    """A grant that is looked up again when it is mounted, links and all."""
    for source in _step(plan, "grants")._sources:

        def enter(source: Source = source) -> None:
            path_fd = os.open(source.path, os.O_PATH | os.O_CLOEXEC)
            source._mount_fd = mount.open_tree(path_fd)

        source.enter = enter
    return plan


def _follow_links_in_destinations() -> Any:
    return patch.object(
        mount,
        "open_in_root",
        lambda root_fd, path, flags, mode=0: mount._openat2(root_fd, path, flags, mode, mount._RESOLVE_IN_ROOT),
    )


# --- streams, environment, descriptors, script, identity -------------------------------------------------------------


def _own_stream(number: int) -> Removal:
    """The caller's descriptor ``number`` instead of a pipe."""

    def change(plan: Plan) -> Plan:
        streams = plan.streams
        kept_fd = os.dup(number)
        child_fds, confine = streams.child_fds, streams.confine

        def apply() -> None:
            confine()
            os.dup2(kept_fd, number, inheritable=True)

        streams.child_fds = lambda: (*child_fds(), kept_fd)  # type: ignore[method-assign]
        streams.confine = apply  # type: ignore[method-assign]
        return plan

    return Removal(plan=change)


def _whole_environment(plan: Plan) -> Plan:
    environment = _step(plan, "environment")
    environment.variables = {**os.environ, **environment.variables}
    return plan


class _UnsealedScript(Script):
    """Hashed when the plan is made, read again when it is run."""

    def __init__(self, path: str, dest: str, *source: int) -> None:
        super().__init__(path, dest, *source)
        self._path = path

    def prepare(self) -> None:
        os.close(self._memfd)
        sha256 = self.sha256
        super().__init__(self._path, self.dest)
        self.sha256 = sha256


def _host_root(plan: Plan) -> Plan:
    identity = _step(plan, "identity")
    identity.allocated = False  # maps the caller itself, as for an ordinary user
    return plan


def _dumpable(_plan: Plan | None = None) -> Any:
    return patch.object(process, "set_dumpable", lambda dumpable: process._prctl(4, 1, "PR_SET_DUMPABLE"))


# --- privileges, system calls, limits, outputs -----------------------------------------------------------------------


def _keep_capabilities() -> None:
    """no_new_privs stays; every capability survives the exec as an ambient one."""
    process.set_no_new_privs()
    header, sets = struct.pack("=Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.capget(header, sets)
    low = struct.unpack("=6I", sets.raw)
    libc.capset(header, struct.pack("=6I", low[1], low[1], low[1], low[4], low[4], low[4]))
    for capability in range(process.last_capability() if os.path.exists("/proc/sys") else 41):
        libc.prctl(47, 2, capability, 0, 0)


def _only_no_new_privs_missing() -> None:
    process.drop_bounding_set(40)
    process.lock_securebits()
    process.drop_capabilities()


def _allow_call(plan: Plan, call: str) -> Plan:
    """The program, compiled again with this one call allowed whatever its arguments."""
    step = _step(plan, "syscalls")
    filesystem = Filesystem(_step(plan, "grants")._mounts, work_exec=plan.workdir._executable)
    policy = Policy("removed", syscalls=step._values, filesystem=filesystem)
    changed = getattr(step, "allowed_by_test", ()) + (call,)
    step.allowed_by_test = changed
    kept = [rule for rule in rules(policy) if rule.call not in changed]
    kept += [SyscallRule(name) for name in changed]
    step.program = seccomp_compile._build(seccomp_compile._pyseccomp(), kept)
    return plan


def _any_architecture(plan: Plan) -> Plan:
    """libseccomp's own setting, as a profile that forgot to pin the architecture would have it."""
    pyseccomp = seccomp_compile._pyseccomp()
    set_attr = pyseccomp.SyscallFilter.set_attr

    def changed(self: Any, attribute: Any, value: Any) -> Any:
        return set_attr(self, attribute, pyseccomp.ALLOW if attribute == pyseccomp.Attr.ACT_BADARCH else value)

    with patch.object(pyseccomp.SyscallFilter, "set_attr", changed):
        return _allow_call(plan, "getpid")  # allowed anyway


def _drop_rlimit(plan: Plan, name: str) -> Plan:
    step = _step(plan, "rlimits")
    table = step._table()
    assert name in table, f"no limit {name} any more"

    step._table = lambda shipped=step._table: {key: value for key, value in shipped().items() if key != name}
    return plan


class _NaiveCollector:
    """What a script to copy results out might look like."""

    def __init__(self, work_fd: int, out_fd: int, bounds: Any, mount_points: Any) -> None:
        self._work_fd, self._out_dir = work_fd, os.readlink(f"/proc/self/fd/{out_fd}")

    def collect(self) -> tuple[Output, ...]:
        naive_copy(f"/proc/self/fd/{self._work_fd}", self._out_dir, self._work_fd)
        return ()


def naive_copy(source: str, target: str, *pass_fds: int) -> None:
    """cp -rL of all that is there."""
    os.makedirs(target, exist_ok=True)
    subprocess.run(["cp", "-rL", f"{source}/.", target], pass_fds=pass_fds, timeout=5, stderr=subprocess.DEVNULL)


CONTROLS: dict[str, Removal] = {
    **{f"namespaces.{kind}": _namespace(kind) for kind in ("pid", "network", "ipc", "uts", "cgroup")},
    "namespaces.quotas": _set("namespaces", _quotas={}),
    "root.proc": _set("root", _private_proc=False),
    "root.proc_read_only": _set("root", _proc_flags=mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC),
    "root.devices": Removal(plan=_more_devices),
    "pivot.read_only": _set("pivot", _read_only=False),
    "workdir.size": _set("workdir", _size_bytes=1 << 30),
    "workdir.inodes": _set("workdir", _inodes=1_000_000),
    "workdir.noexec": _set("workdir", _executable=True),
    "rootfs.read_only": _mount_flag("rootfs", "_units", mount.MOUNT_ATTR_RDONLY),
    "grants.read_only": _mount_flag("grants", "_sources", mount.MOUNT_ATTR_RDONLY),
    "grants.nodev": _mount_flag("grants", "_sources", mount.MOUNT_ATTR_NODEV),
    "grants.nosuid": _mount_flag("grants", "_sources", mount.MOUNT_ATTR_NOSUID),
    "grants.overlay": Removal(policy=_overlay_as_bind),
    "grants.held_source": Removal(plan=_reopen_by_path),
    "grants.no_links": Removal(patch=_follow_links_in_destinations),
    "streams.stdin": _own_stream(0),
    "streams.stderr": _own_stream(2),
    "streams.session": Removal(patch=lambda: patch.object(os, "setsid", lambda: None)),
    "environment": Removal(plan=_whole_environment),
    "descriptors": Removal(patch=lambda: patch.object(process, "close_range", lambda first, last: None)),
    "script": Removal(patch=lambda: patch.object(resolve, "Script", _UnsealedScript)),
    "identity": Removal(plan=_host_root),
    "identity.dumpable": Removal(patch=_dumpable),
    "landlock": Removal(plan=lambda plan: _drop(plan, "landlock")),
    "privileges": Removal(plan=lambda plan: _drop(plan, "privileges")),
    "privileges.capabilities": _set("privileges", confine=_keep_capabilities),
    "privileges.no_new_privs": _set("privileges", confine=_only_no_new_privs_missing),
    "syscalls.exec_magic": _set("syscalls", magic=bpf.EXEC_MAGIC_PLACEHOLDER)._replace(
        patch=lambda: patch.object(bpf, "patch_exec_magic", lambda program, magic: program)
    ),
    "syscalls.memory_files": Removal(
        patch=lambda: patch.object(bpf, "refuse_call", lambda program, number, errno: program)
    ),
    "syscalls.architecture": Removal(plan=_any_architecture),
    "syscalls.uncounted": _set("syscalls", _uncounted=lambda: False),
    "syscalls.kill_after": Removal(
        policy=lambda policy: policy._replace(syscalls=policy.syscalls._replace(kill_after=1 << 30))
    ),
    "limits.memory": _limit(memory_bytes=8 << 30),
    "limits.pids": _limit(pids=4000),
    "limits.cpu_time": _limit(cpu_time_s=1000.0),
    "limits.wall_time": _limit(wall_time_s=1000.0),
    "limits.output": _limit(output_size_bytes=_UNLIMITED_BYTES),
    "outputs": Removal(patch=lambda: patch.object(collect, "Collector", _NaiveCollector)),
}
