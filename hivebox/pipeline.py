"""One run from end to end: policy -> plan -> launch -> watch (supervise, report, audit record)."""

from __future__ import annotations

import os

from hivebox.frozen import Frozen
from hivebox.kernel.bpf import program_for
from hivebox.launch.launch import Launch
from hivebox.locations import state_dir
from hivebox.plan.plan import Plan
from hivebox.plan.resolve import Request, resolve
from hivebox.policy.model import Policy
from hivebox.rootfs.store import Tree
from hivebox.steps.environment import Sinks
from hivebox.waiting import block

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hivebox.audit.recorder import Recorder
    from hivebox.launch.zygote import Zygote
    from hivebox.report import Report
    from hivebox.supervise.orders import Orders
    from hivebox.waiting import Waiting
    from hivebox.watch import Aside


class Inputs(Frozen):
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
    """Run it and wait: for a process that has nothing else to do, and passes the signals it gets on. ``transform``
    exists for the tests that remove one control and show what then gets through. Raises as ``begin``."""
    reports: list[Report] = []
    block(begin(inputs, reports.append, transform=transform))
    return reports[0]


def begin(
    inputs: Inputs,
    deliver: Callable[[Report], None],
    attendants: Callable[[], tuple[Orders, Recorder]] | None = None,
    aside: Aside | None = None,
    zygote: Zygote | None = None,
    transform: Callable[[Plan], Plan] = lambda plan: plan,
) -> Waiting[None]:
    """One run. ``deliver`` is called when the payload has ended and its record is on the disk; taking the sandbox down
    goes on behind. ``attendants`` and ``aside`` are for watch.Caller; the first are asked for after the clone, and by
    default this process's own. ``zygote`` is for Launch.

    Raises HiveboxError when the sandbox, the outputs or the record could not be made; a ``started`` record is followed
    by a ``finished`` one unless this process is killed. A failing or killed script is a Report, not an error.
    """
    run_id = new_run_id()
    out_fd = _open_outputs(inputs.out_dir) if inputs.out_dir else -1
    plan = None
    try:
        plan = transform(make_plan(inputs, run_id))
        launch = Launch(plan, zygote)
        # Imported while the sandbox mounts: docs/performance.md#cold-start.
        from hivebox.watch import Caller, Subject, own_attendants, watch  # noqa: PLC0415

        about = Subject(run_id, inputs.policy, inputs.policy_sha256, inputs.tree, plan)
        orders, recorder = (attendants or own_attendants)()
        yield from watch(about, launch, Caller(inputs.sinks, out_fd, orders, recorder, deliver, aside))
    finally:
        if plan:
            plan.release()
        if out_fd >= 0:
            os.close(out_fd)


def _open_outputs(out_dir: str) -> int:
    from hivebox.supervise.collect import open_directory  # noqa: PLC0415  # few runs collect

    return open_directory(out_dir)
