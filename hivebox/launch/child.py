"""The sandbox's own two processes: init (PID 1) and the payload until it execs. All of it runs after clone(2).

Nothing here imports, logs or reads configuration, and every way out is os._exit or exec: the interpreter's own
clean-up belongs to the supervisor.
"""

from __future__ import annotations

import fcntl
import os
import resource
import time

from hivebox import plainjson
from hivebox.errors import HiveboxError, errno_text
from hivebox.kernel import process
from hivebox.kernel.bpf import CONTROL_FD
from hivebox.launch.channel import Channel, error_body
from hivebox.waiting import Wait, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import NoReturn

    from hivebox.plan.plan import Plan
    from hivebox.steps.step import Step
else:
    import _signal as signal  # without the enumerations, which cost 3 ms

_FAILED = 125
_WALL_GRACE_S = 5.0  # the supervisor keeps the clock; this one only matters when it is stopped or starved
_SETTLE_S = 5.0
_SET_UP_S = 300.0  # longer than the supervisor waits
_INIT_NAME, _SETUP_NAME = "hivebox-init", "hivebox-setup"


def run_init(plan: Plan, channel: Channel, exec_error_fd: int) -> NoReturn:
    """PID 1: parent of the process that sets the sandbox up and becomes the payload. Never returns.

    It touches as little as it can, since each page it writes to is memory of its own for as long as the run lasts.
    """
    try:
        _detach_from_caller({channel.fileno(), exec_error_fd, *plan.child_fds()})
        mapped = channel.receive()
        if mapped is None:
            os._exit(_FAILED)  # the supervisor died before it mapped our user
        plan.cgroup.accept(mapped.fds)
        # Not os.fork: since Python 3.12 it reads /proc/self/stat (to warn about threads), and the sandbox's /proc then
        # has an entry for init from before it was hidden: EPERM, where the payload should find nothing (ENOENT).
        set_up_fd, _ = os.pipe()  # the payload's exec, or its death, ends it
        payload_pid = process.clone(0)
        if payload_pid == 0:
            _run_payload(plan, channel, exec_error_fd)
        process.close_others({0, 1, 2, channel.fileno(), set_up_fd})
        _take_identity(plan, channel)
        _drop_privileges(plan)
        _wait_for_exec(set_up_fd)
        _reap(payload_pid, plan, channel)
    except HiveboxError as error:
        channel.send("error", error_body(error))
    except BaseException as error:  # noqa: BLE001  # the last resort of a process that must not return
        channel.send("error", error_body(HiveboxError("the sandbox's init failed", repr(error), "report this")))
    os._exit(_FAILED)


def _detach_from_caller(kept_fds: set[int]) -> None:
    """A session of its own, default signals, and no descriptor but those needed: an inherited one of a host
    directory is a way out (CVE-2024-21626), a terminal one a way to type (CVE-2017-5226)."""
    os.setsid()
    process.keep_only(kept_fds)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGCHLD})
    process.set_name(_INIT_NAME)


def _apply(step: Step, act: Callable[[], None]) -> None:
    try:
        act()
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        why = where + errno_text(error.errno or 0)
        raise HiveboxError(f"cannot apply {step.name}", why, "run `hivebox doctor`") from error


def _take_control_fd(channel: Channel) -> int:
    """A copy of the channel at CONTROL_FD, which may be above the caller's limit. The step rlimits sets its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft <= CONTROL_FD:
        if hard != resource.RLIM_INFINITY and hard <= CONTROL_FD:
            why = f"this shell may open {hard} files, and {CONTROL_FD + 1} are needed"
            raise HiveboxError("cannot set up the sandbox's descriptors", why, "raise the hard limit: ulimit -Hn 4096")
        resource.setrlimit(resource.RLIMIT_NOFILE, (CONTROL_FD + 1, hard))
    control_fd = fcntl.fcntl(channel.fileno(), fcntl.F_DUPFD_CLOEXEC, CONTROL_FD)
    if control_fd != CONTROL_FD:
        raise HiveboxError("cannot hand over the filter's descriptor", f"descriptor {CONTROL_FD} is taken")
    return control_fd


def _run_payload(plan: Plan, channel: Channel, exec_error_fd: int) -> NoReturn:
    try:
        process.set_name(_SETUP_NAME)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())  # what each signal does is the default since init's start
        for step in plan.steps:
            _apply(step, step.enter)
        for step in plan.steps:
            _apply(step, step.set_up)
        control_fd = _take_control_fd(channel)
        control = Channel.on(control_fd)
        for step in plan.steps:
            _apply(step, step.confine)
        control.send("ready", fds=(plan.workdir.work_fd, *plan.notify_fds()))
        if os.read(control_fd, 1):
            plan.execute.exec()
    except HiveboxError as error:
        os.write(exec_error_fd, plainjson.dumps(error_body(error)).encode())
    except BaseException as error:  # noqa: BLE001  # see run_init
        failure = HiveboxError("the payload could not be set up", repr(error), "report this")
        os.write(exec_error_fd, plainjson.dumps(error_body(failure)).encode())
    os._exit(_FAILED)


def _take_identity(plan: Plan, channel: Channel) -> None:
    """The payload's, who may not look into what is not dumpable. PDEATHSIG comes after: a change of user clears it."""
    for step in plan.steps:
        if step.name == "identity":
            step.set_up()
    process.set_pdeathsig(signal.SIGKILL)
    if channel.peer_is_gone():
        os._exit(_FAILED)


def _wait_for_exec(set_up_fd: int) -> None:
    """The clock begins with the program, however long its sandbox took to set up on a busy machine."""
    sleep(Wait(set_up_fd, _SET_UP_S))
    os.close(set_up_fd)


def _drop_privileges(plan: Plan) -> None:
    """Init keeps nothing but the right to wait for its children."""
    for step in plan.steps:
        if step.name == "privileges":
            step.confine()


def _reap(payload_pid: int, plan: Plan, channel: Channel) -> NoReturn:
    """Wait for everything, until the payload itself has ended; then the namespace ends with us."""
    deadline = time.monotonic() + plan.wall_time_s + _WALL_GRACE_S
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            os._exit(_FAILED)
        if ended is None:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                os._exit(_FAILED)
            signal.sigtimedwait({signal.SIGCHLD}, remaining)
        elif ended.si_pid == payload_pid:
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
            exited = ended.si_code == os.CLD_EXITED
            body = {
                "exit_code": ended.si_status if exited else None,
                "signal": None if exited else ended.si_status,
                "cpu_user_s": usage.ru_utime,
                "cpu_system_s": usage.ru_stime,
            }
            channel.send("exit", body)
            if plan.cgroup.ends_with_init:
                channel.socket.settimeout(_SETTLE_S)
                channel.receive()  # whatever it is, or the timeout's exception: the figures are read
            os._exit(0)
