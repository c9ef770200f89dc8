"""A run from the clone to its record: what the supervisor does while the sandbox lives, and what it says afterwards."""

from __future__ import annotations

import os

from hivebox import __version__
from hivebox.audit import supervisor
from hivebox.audit.recorder import OwnRecorder
from hivebox.errors import HiveboxError, from_os_error
from hivebox.frozen import Frozen
from hivebox.launch.launch import Launch, Sandbox
from hivebox.plan.plan import Plan
from hivebox.policy.model import Policy
from hivebox.report import Cause, Ending, Output, Report
from hivebox.rootfs.store import Tree
from hivebox.steps.environment import Sinks
from hivebox.steps.script import Script
from hivebox.steps.syscalls import Syscalls
from hivebox.steps.workdir import WORK
from hivebox.supervise.orders import OwnSignals
from hivebox.supervise.supervise import Supervision

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from hivebox.audit.ledger import Appended
    from hivebox.audit.recorder import Recorder
    from hivebox.supervise.orders import Orders
    from hivebox.waiting import Waiting

    Controls = dict[str, dict[str, Any]]
    Aside = Callable[[Callable[[], dict[str, Any]]], Waiting[dict[str, Any]]]


class Subject(Frozen):
    """What is run, for its record."""

    run_id: str
    policy: Policy
    policy_sha256: str
    tree: Tree
    plan: Plan

    def digests(self) -> tuple[tuple[str, str], ...]:
        """(name, SHA-256): what the record is about."""
        digests = [("policy", self.policy_sha256)]
        if not self.tree.digest.startswith("host"):  # which is not content-addressed
            digests.append(("rootfs", self.tree.digest))
        if self.tree.interpreter_sha256:
            digests.append(("interpreter", self.tree.interpreter_sha256))
        for step in self.plan.steps:
            if isinstance(step, Script):
                digests.append((f"script:{os.path.basename(step.dest)}", step.sha256))
            elif isinstance(step, Syscalls):
                digests.append(("seccomp", step.sha256))
        return tuple(digests)


class Caller(Frozen):
    """Who asked for the run, as far as the run knows: where its streams and outputs go, who may end it early, who keeps
    its records, who is told what it was, and who does long work while others wait. ``out_fd`` -1 collects nothing."""

    sinks: Sinks
    out_fd: int
    orders: Orders
    recorder: Recorder
    deliver: Callable[[Report], None]
    aside: Aside | None = None


def own_attendants() -> tuple[Orders, Recorder]:
    """Of a process that does one run."""
    return OwnSignals(), OwnRecorder()


class Record(Frozen):
    """The two lines of one run in the ledger."""

    recorder: Recorder
    about: Subject

    def append(self, event: str, predicate: dict[str, Any]) -> Waiting[Appended]:
        """On the disk when it returns."""
        return self.recorder.append(event, self.about.run_id, self.about.digests(), predicate)


def watch(about: Subject, launch: Launch, caller: Caller) -> Waiting[None]:
    """Write ``started``, let the payload go, stay with it, write ``finished``, deliver the report, and only then wait
    for the kernel to take the namespaces down. Raises as pipeline.run()."""
    try:
        yield from _watch(about, launch, caller)
    finally:
        caller.orders.close()


def _watch(about: Subject, launch: Launch, caller: Caller) -> Waiting[None]:
    record = Record(caller.recorder, about)
    try:
        controls = about.plan.describe()
        yield from record.append("started", _started(about, controls, collect=caller.out_fd >= 0))
    except BaseException:
        launch.abort()
        raise
    try:
        about.plan.cgroup.reap()
        sandbox = yield from launch.wait_ready()
    except BaseException as error:
        yield from record.append("finished", _unfinished(error, controls, started=False))
        raise
    try:
        caller.deliver((yield from _attend(sandbox, record, controls, caller)))
    finally:
        yield from sandbox.wait()
        sandbox.close()


def _attend(sandbox: Sandbox, record: Record, controls: Controls, caller: Caller) -> Waiting[Report]:
    about, policy = record.about, record.about.policy
    try:
        supervision = Supervision(
            about.plan, sandbox, policy.limits, policy.syscalls.kill_after, caller.sinks, caller.orders
        )
        finished = yield from supervision.run()
    except BaseException as error:
        yield from record.append("finished", _unfinished(error, controls, started=not isinstance(error, HiveboxError)))
        raise
    ending = finished.ending._replace(network=(yield from about.plan.network.finish()))
    if "error" in (ending.network or {}) and not ending.cause:
        ending = ending._replace(cause=Cause("network", "supervisor", str(ending.network["error"])))  # type: ignore[index]
    files, failure = (yield from _collect(sandbox, policy, caller)) if caller.out_fd >= 0 else ((), None)
    if failure and not ending.cause:
        ending = ending._replace(cause=Cause("outputs", "supervisor", f"{failure.what}: {failure.why}"))
    appended = yield from record.append("finished", _finished(ending, files, controls))
    if finished.undying:
        raise undying()
    if failure:
        raise failure
    audit = {"ledger": appended.path, "seq": appended.seq, "line_sha256": appended.line_sha256}
    argv, name = about.plan.execute.argv, about.policy.name
    return Report(about.run_id, argv, name, ending, controls, files, audit, finished.stdout, finished.stderr)


def _collect(
    sandbox: Sandbox, policy: Policy, caller: Caller
) -> Waiting[tuple[tuple[Output, ...], HiveboxError | None]]:
    """Take the files out when nothing lives that could change them. An output that cannot be written is returned, not
    raised: the run did happen and its record must say so."""
    from hivebox.supervise.collect import Collector  # noqa: PLC0415  # few runs collect

    if not (yield from sandbox.wait()):
        return (), undying()
    mount_points = {mount.dest.removeprefix(f"{WORK}/") for mount in policy.filesystem.mounts}
    collector = Collector(sandbox.work_fd, caller.out_fd, policy.outputs, mount_points)
    try:
        if caller.aside is None:
            return collector.collect(), None
        taken = yield from caller.aside(lambda: {"files": [output._asdict() for output in collector.collect()]})
        return tuple(Output(**output) for output in taken["files"]), None
    except HiveboxError as error:
        return (), error
    except OSError as error:  # whatever a hostile tree makes of it, the run has its record
        return (), from_os_error("cannot collect the outputs", error, "look at what is there already")


def undying() -> HiveboxError:
    """What outlived SIGKILL is of no use to the script any more: a signal ends its wait, or nothing does."""
    return HiveboxError(
        "the sandbox does not end",
        "a process in it was killed and still waits in the kernel, as for a file system that does not answer",
        "look for it with `ps -eo pid,stat,wchan,comm`, and at the granted paths",
    )


def _started(about: Subject, controls: Controls, *, collect: bool) -> dict[str, Any]:
    host = os.uname()
    return {
        "hivebox": __version__,
        "host": {"kernel": host.release, "machine": host.machine, "name": host.nodename},
        "supervisor": {**supervisor.identify(), "uid": os.getuid()},
        "request": {"argv": list(about.plan.execute.argv), "profile": about.policy.name, "collect": collect},
        "controls": controls,
    }


def _unfinished(error: BaseException, controls: Controls, *, started: bool) -> dict[str, Any]:
    """A HiveboxError from the supervision means that the program could not be executed; anything else, that the
    supervisor failed while it ran."""
    why = f"{error.what}: {error.why}" if isinstance(error, HiveboxError) else repr(error)
    outcome, control = ("cancelled", "supervisor") if started else ("not_started", "launch")
    return _finished(Ending(outcome, cause=Cause(control, "", why)), (), controls)


def _finished(ending: Ending, files: tuple[Output, ...], controls: Controls) -> dict[str, Any]:
    enforced = {name: bool(facts["enforced"]) for name, facts in controls.items()}
    return {"result": ending.plain(), "files": [output._asdict() for output in files], "enforced": enforced}
