"""One run from end to end: policy -> plan -> launch -> supervise -> report -> audit record."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from hivebox import __version__
from hivebox.audit import supervisor
from hivebox.audit.ledger import Appended, Ledger
from hivebox.errors import HiveboxError
from hivebox.kernel.bpf import program_for
from hivebox.launch.launch import Launch
from hivebox.locations import state_dir
from hivebox.plan.plan import Plan
from hivebox.plan.resolve import Request, resolve
from hivebox.policy.model import Policy
from hivebox.report import Cause, Ending, Output, Report
from hivebox.rootfs.store import Tree
from hivebox.steps.script import Script
from hivebox.steps.syscalls import Syscalls
from hivebox.supervise.collect import Collector
from hivebox.supervise.supervise import Finished, Sinks, Supervision

Subjects = list[tuple[str, str]]


class Inputs(NamedTuple):
    """Everything a run needs, resolved by the caller. ``policy_sha256`` is the digest of the effective policy;
    ``out_dir`` "" collects nothing."""

    policy: Policy
    policy_sha256: str
    request: Request
    tree: Tree
    sinks: Sinks
    out_dir: str = ""


def make_plan(inputs: Inputs, run_id: str) -> Plan:
    """The plan alone, as --dry-run shows it. Starts nothing."""
    program = program_for(inputs.policy)
    return resolve(inputs.policy, inputs.request, inputs.tree, program, run_id, state_dir())


def new_run_id() -> str:
    """16 random hexadecimal digits."""
    return os.urandom(8).hex()


def run(inputs: Inputs, transform: Callable[[Plan], Plan] = lambda plan: plan) -> Report:
    """Run it. ``transform`` exists for the tests that remove one control and show what then gets through.

    Raises HiveboxError when the sandbox, the outputs or the record could not be made; whatever happens, a ``started``
    record is followed by a ``finished`` one. A failing or killed script is a Report, not an error.
    """
    run_id = new_run_id()
    plan = transform(make_plan(inputs, run_id))
    record = Record(Ledger(state_dir()), run_id, _subjects(inputs, plan))
    try:
        launch = Launch(plan)
        try:
            controls = plan.describe()
            record.append("started", _started(inputs, plan, controls))
        except BaseException:
            launch.abort()
            raise
        try:
            finished, files, failure = _watch(launch, plan, inputs)
        except HiveboxError as error:
            ending = Ending("not_started", cause=Cause("launch", "", f"{error.what}: {error.why}"))
            record.append("finished", _finished(ending, (), controls))
            raise
        appended = record.append("finished", _finished(finished.ending, files, controls))
        if failure:
            raise failure
    finally:
        plan.release()
    audit = {"ledger": appended.path, "seq": appended.seq, "line_sha256": appended.line_sha256}
    argv, name = plan.execute.argv, inputs.policy.name
    return Report(run_id, argv, name, finished.ending, controls, files, audit, finished.stdout, finished.stderr)


class Record(NamedTuple):
    """The two lines of one run in the ledger."""

    ledger: Ledger
    run_id: str
    subjects: Subjects

    def append(self, event: str, predicate: dict[str, Any]) -> Appended:
        """On the disk when it returns."""
        return self.ledger.append(event, self.run_id, self.subjects, predicate)


def _watch(launch: Launch, plan: Plan, inputs: Inputs) -> tuple[Finished, tuple[Output, ...], HiveboxError | None]:
    """Start the payload and stay to the end; then take out its files, when nothing lives that could change them.
    An output that cannot be written is returned, not raised: the run did happen and its record must say so."""
    sandbox = launch.wait_ready()
    policy = inputs.policy
    try:
        finished = Supervision(plan, sandbox, policy.limits, policy.syscalls.kill_after, inputs.sinks).run()
        if not inputs.out_dir:
            return finished, (), None
        try:
            return finished, Collector(sandbox.work_fd, inputs.out_dir, policy.outputs).collect(), None
        except HiveboxError as error:
            return finished, (), error
    finally:
        sandbox.close()


def _subjects(inputs: Inputs, plan: Plan) -> Subjects:
    """What the record is about, by digest."""
    subjects: Subjects = [("policy", inputs.policy_sha256)]
    if not inputs.tree.digest.startswith("host"):  # which is not content-addressed
        subjects.append(("rootfs", inputs.tree.digest))
    for step in plan.steps:
        if isinstance(step, Script):
            subjects.append((f"script:{os.path.basename(step.dest)}", step.sha256))
        elif isinstance(step, Syscalls):
            subjects.append(("seccomp", step.sha256))
    return subjects


def _started(inputs: Inputs, plan: Plan, controls: dict[str, dict[str, Any]]) -> dict[str, Any]:
    host = os.uname()
    return {
        "hivebox": __version__,
        "host": {"kernel": host.release, "machine": host.machine, "name": host.nodename},
        "supervisor": {**supervisor.identify(), "uid": os.getuid()},
        "request": {"argv": list(plan.execute.argv), "profile": inputs.policy.name, "collect": bool(inputs.out_dir)},
        "controls": controls,
    }


def _finished(ending: Ending, files: tuple[Output, ...], controls: dict[str, dict[str, Any]]) -> dict[str, Any]:
    enforced = {name: bool(facts["enforced"]) for name, facts in controls.items()}
    return {"result": ending.plain(), "files": [output._asdict() for output in files], "enforced": enforced}
