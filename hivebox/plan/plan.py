"""The ordered steps of one run."""

from __future__ import annotations

from hivebox.frozen import Frozen
from hivebox.steps.environment import Streams
from hivebox.steps.execute import Execute
from hivebox.steps.limits import CgroupStep
from hivebox.steps.namespaces import Namespaces
from hivebox.steps.network import Network
from hivebox.steps.step import Step
from hivebox.steps.syscalls import Syscalls
from hivebox.steps.workdir import Workdir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Plan(Frozen):
    """``steps`` in the order of application. The named ones are the same objects, for the parts that meet them."""

    steps: tuple[Step, ...]
    namespaces: Namespaces
    cgroup: CgroupStep
    network: Network
    workdir: Workdir
    streams: Streams
    execute: Execute
    wall_time_s: float
    skipped: tuple[tuple[str, str], ...] = ()

    def child_fds(self) -> tuple[int, ...]:
        """Descriptors the child keeps."""
        return tuple(handle for step in self.steps for handle in step.child_fds())

    def notify_fds(self) -> tuple[int, ...]:
        """In the payload: what goes to the supervisor with ``ready``."""
        return tuple(step.notify_fd for step in self.steps if isinstance(step, Syscalls))

    def describe(self) -> dict[str, dict[str, Any]]:
        """Step name -> its facts, then the supervisor's own clock, then the controls that the policy allowed to skip,
        with the reason. What is done by other means than the kernel's says itself that it is not enforced."""
        controls = {step.name: {"enforced": True, **step.describe()} for step in self.steps}
        controls["wall_time"] = {"enforced": True, "wall_time_s": self.wall_time_s}
        controls.update({name: {"enforced": False, "reason": reason} for name, reason in self.skipped})
        return controls

    def release(self) -> None:
        """Give back what the steps hold in the supervisor."""
        for step in self.steps:
            step.release()
