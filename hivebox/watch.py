"""A run from the clone to its record: what the supervisor does while the sandbox lives, and what it says afterwards."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from hivebox import __version__
from hivebox.audit import supervisor
from hivebox.audit.ledger import Appended, Ledger
from hivebox.errors import HiveboxError
from hivebox.launch.launch import Launch
from hivebox.locations import state_dir
from hivebox.plan.plan import Plan
from hivebox.policy.model import Policy
from hivebox.report import Cause, Ending, Output, Report
from hivebox.rootfs.store import Tree
from hivebox.steps.environment import Sinks
from hivebox.steps.script import Script
from hivebox.steps.syscalls import Syscalls
from hivebox.supervise.collect import Collector
from hivebox.supervise.supervise import Finished, Supervision


class Subject(NamedTuple):
    """What is run, for its record."""

    run_id: str
    policy: Policy
    policy_sha256: str
    tree: Tree
    plan: Plan

    def digests(self) -> tuple[tuple[str, str], ...]:
        """(name, SHA-256): what the record is about. The interpreter is part of the root."""
        digests = [("policy", self.policy_sha256)]
        if not self.tree.digest.startswith("host"):  # which is not content-addressed
            digests.append(("rootfs", self.tree.digest))
        for step in self.plan.steps:
            if isinstance(step, Script):
                digests.append((f"script:{os.path.basename(step.dest)}", step.sha256))
            elif isinstance(step, Syscalls):
                digests.append(("seccomp", step.sha256))
        return tuple(digests)


class Record(NamedTuple):
    """The two lines of one run in the ledger."""

    ledger: Ledger
    about: Subject

    def append(self, event: str, predicate: dict[str, Any]) -> Appended:
        """On the disk when it returns."""
        return self.ledger.append(event, self.about.run_id, self.about.digests(), predicate)


def watch(about: Subject, launch: Launch, sinks: Sinks, out_dir: str) -> Report:
    """Write ``started``, let the payload go, stay with it, write ``finished``. Raises as pipeline.run()."""
    record = Record(Ledger(state_dir()), about)
    plan = about.plan
    try:
        controls = plan.describe()
        record.append("started", _started(about, controls, collect=bool(out_dir)))
    except BaseException:
        launch.abort()
        raise
    try:
        finished, files, failure = _attend(launch, about, sinks, out_dir)
    except BaseException as error:
        why = f"{error.what}: {error.why}" if isinstance(error, HiveboxError) else repr(error)
        ending = Ending("not_started", cause=Cause("launch", "", why))
        record.append("finished", _finished(ending, (), controls))
        raise
    appended = record.append("finished", _finished(finished.ending, files, controls))
    if failure:
        raise failure
    audit = {"ledger": appended.path, "seq": appended.seq, "line_sha256": appended.line_sha256}
    name = about.policy.name
    streams = finished.stdout, finished.stderr
    return Report(about.run_id, plan.execute.argv, name, finished.ending, controls, files, audit, *streams)


def _attend(
    launch: Launch, about: Subject, sinks: Sinks, out_dir: str
) -> tuple[Finished, tuple[Output, ...], HiveboxError | None]:
    """Start the payload and stay to the end; then take out its files, when nothing lives that could change them.
    An output that cannot be written is returned, not raised: the run did happen and its record must say so."""
    sandbox = launch.wait_ready()
    policy = about.policy
    try:
        finished = Supervision(about.plan, sandbox, policy.limits, policy.syscalls.kill_after, sinks).run()
        if not out_dir:
            return finished, (), None
        try:
            return finished, Collector(sandbox.work_fd, out_dir, policy.outputs).collect(), None
        except HiveboxError as error:
            return finished, (), error
    finally:
        sandbox.close()


def _started(about: Subject, controls: dict[str, dict[str, Any]], *, collect: bool) -> dict[str, Any]:
    host = os.uname()
    return {
        "hivebox": __version__,
        "host": {"kernel": host.release, "machine": host.machine, "name": host.nodename},
        "supervisor": {**supervisor.identify(), "uid": os.getuid()},
        "request": {"argv": list(about.plan.execute.argv), "profile": about.policy.name, "collect": collect},
        "controls": controls,
    }


def _finished(ending: Ending, files: tuple[Output, ...], controls: dict[str, dict[str, Any]]) -> dict[str, Any]:
    enforced = {name: bool(facts["enforced"]) for name, facts in controls.items()}
    return {"result": ending.plain(), "files": [output._asdict() for output in files], "enforced": enforced}
