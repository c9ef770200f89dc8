"""Running plans from tests, whole or with one control removed, and looking for what a run left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hivebox.errors import HiveboxError
from hivebox.kernel import cgroup
from hivebox.kernel.mount import MNT_DETACH, umount2
from hivebox.kernel.pid import start_time
from hivebox.launch.aside import aside
from hivebox.launch.zygote import Zygote
from hivebox.pipeline import Inputs, begin, run
from hivebox.plan.plan import Plan
from hivebox.plan.resolve import Request
from hivebox.policy.model import Limits, Policy, Syscalls
from hivebox.report import Report
from hivebox.rootfs.store import Tree, host_tree
from hivebox.steps.environment import Sinks
from hivebox.waiting import block

PROCESS_GROUPS = ("@base", "@python", "@threads", "@network-local", "@process", "@exec")
_PROCESSES = ("hivebox-init", "hivebox-net", "hivebox-service", "hivebox-record", "hivebox-zygote")
PLAIN_GROUPS = ("@base", "@python", "@threads", "@network-local")


def slack_s() -> float:
    """How much later than on real hardware a program may have started here: 0, but in an emulated machine
    (scripts/test-vm says so) measured once, for all workers. Added to deadlines of tests, never to what a limit holds."""
    if os.environ.get("HIVEBOX_TEST_EMULATED") and "HIVEBOX_TEST_SLACK" not in os.environ:
        os.environ["HIVEBOX_TEST_SLACK"] = f"{20 * min(_interpreter_start_s() for _ in range(3)):.1f}"
    return float(os.environ.get("HIVEBOX_TEST_SLACK", "0"))


def _interpreter_start_s() -> float:
    began = time.monotonic()
    subprocess.run(["/usr/bin/python3", "-I", "-S", "-c", "pass"], check=True)
    return time.monotonic() - began


def wait_for(condition: Callable[[], object], seconds: float = 10.0) -> bool:
    """Whether it came to hold in that time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


# Roomy for a test, small enough that a hostile one ends in seconds.
LIMITS = Limits(wall_time_s=20 + slack_s(), cpu_time_s=20 + slack_s(), memory_bytes=256 << 20)


def policy(**fields: Any) -> Policy:
    """A policy that grants processes, unless told otherwise."""
    return Policy(**{"name": "test", "syscalls": Syscalls(groups=PROCESS_GROUPS), "limits": LIMITS, **fields})


class Runner:
    """``command`` and ``script`` run something on this host's /usr (or another tree) and keep its streams. With a
    zygote they do so as the service does."""

    def __init__(self, zygote: Zygote | None = None) -> None:
        self._zygote = zygote

    def command(
        self,
        *argv: str,
        policy: Policy | None = None,
        tree: Tree | None = None,
        transform: Callable[[Plan], Plan] = lambda plan: plan,
        out_dir: str = "",
        stdin_fd: int = -1,
    ) -> Report:
        request = Request(command=argv[0], arguments=argv[1:], stdin=stdin_fd >= 0)
        return self._run(request, policy, tree, transform, out_dir, stdin_fd)

    def script(
        self,
        path: str | Path,
        *arguments: str,
        policy: Policy | None = None,
        tree: Tree | None = None,
        transform: Callable[[Plan], Plan] = lambda plan: plan,
        out_dir: str = "",
        project: str = "",
    ) -> Report:
        request = Request(script=str(path), arguments=arguments, project=project)
        return self._run(request, policy, tree, transform, out_dir, -1)

    def _run(
        self,
        request: Request,
        chosen: Policy | None,
        tree: Tree | None,
        transform: Callable[[Plan], Plan],
        out_dir: str,
        stdin_fd: int,
    ) -> Report:
        sinks = Sinks(stdin_fd, None, None)
        inputs = Inputs(chosen or policy(), "0" * 64, request, tree or host_tree(), sinks, out_dir)
        if self._zygote is None:
            return run(inputs, transform)
        reports: list[Report] = []
        block(begin(inputs, reports.append, aside=aside, zygote=self._zygote, transform=transform))
        return reports[0]


def leftovers() -> set[str]:
    """Every sandbox process, run cgroup and mount of this mount namespace, as lines."""
    found = set()
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and Path(f"/proc/{entry}/comm").read_text().strip() in _PROCESSES:
                found.add(f"process {entry}")
        except (FileNotFoundError, ProcessLookupError):
            continue
    for directory, names, _ in os.walk("/sys/fs/cgroup"):
        found |= {f"cgroup {directory}/{name}" for name in names if _is_of_a_run(name)}
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        found.add("mount " + " ".join(line.split()[3:5]))
    return found


def _is_of_a_run(group: str) -> bool:
    """A group of a run, or a scope that systemd made for one; not the leaf of a supervisor that still lives."""
    if group.startswith("hivebox-") and group.endswith(".scope"):
        return True
    parts = group.split(".")
    is_leaf = parts[-1] == "self" and start_time(int(parts[1])) == int(parts[2])
    return group.startswith(cgroup.PREFIX) and not is_leaf


def sandboxes(marker: str) -> list[int]:
    """The live inits whose supervisor was started with ``marker`` in its command line, which they still show. Other
    tests' sandboxes come and go meanwhile."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if (
                entry.isdigit()
                and Path(f"/proc/{entry}/comm").read_text().strip() == "hivebox-init"
                and marker.encode() in Path(f"/proc/{entry}/cmdline").read_bytes()
            ):
                found.append(int(entry))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def purge(directory: Path) -> None:
    """Remove a test's directory; a mount below it would be a leftover, so it is taken away first, never followed."""
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        point = line.split()[4]
        if point.startswith(f"{directory}/"):
            umount2(point, MNT_DETACH)
    shutil.rmtree(directory, ignore_errors=True)


def cgroup_available(ways: tuple[str, ...] = cgroup.WAYS) -> bool:
    """True where this user can make a run's control group, in one of these ways."""
    return not no_cgroup(ways)


def no_cgroup(ways: tuple[str, ...]) -> str:
    """Why this user can make no control group in these ways, "" if they can."""
    try:
        cgroup.make("probe", cgroup.GroupLimits(1 << 30, 10), ways).close()
    except HiveboxError as error:
        return f"{error.what}: {error.why}"
    return ""
