"""Process handles, process limits and memory files."""

from __future__ import annotations

import errno
import os
import resource
import signal

from hivebox.doctor import causes
from hivebox.doctor.attempt import attempt
from hivebox.doctor.finding import Cause, Verdict, degraded, missing, ok
from hivebox.errors import HiveboxError
from hivebox.kernel import process
from hivebox.policy.model import Policy

_MFD_NOEXEC_SEAL = 8  # linux/memfd.h


def pidfd(policy: Policy) -> Verdict:  # noqa: ARG001
    try:
        attempt(_kill_by_descriptor)
    except (OSError, HiveboxError) as error:
        return missing(causes.of(error, lambda os_error: causes.old_kernel(os_error, (5, 4))))
    return ok("pidfd_open(2), pidfd_send_signal(2), waitid(P_PIDFD)")


def nproc(policy: Policy) -> Verdict:  # noqa: ARG001
    """The second lock on processes, and where there is no cgroup the first."""
    try:
        third_refused = attempt(_count_to_three, process.CLONE_NEWUSER | process.CLONE_NEWPID)
    except BlockingIOError as error:
        # The other processes of this user were counted too.
        return degraded("RLIMIT_NPROC per user of the host", causes.old_kernel(error, (5, 14)))
    except (OSError, HiveboxError) as error:
        return missing(causes.of(error, causes.in_user_namespace))
    if third_refused:
        return ok("RLIMIT_NPROC, counted per user namespace")
    why = "a third process was allowed under a limit of two"
    return degraded("none", Cause(why, "run hivebox without CAP_SYS_RESOURCE in the outermost namespace"))


def memfd(policy: Policy) -> Verdict:  # noqa: ARG001
    """A profile without work_exec lets programs make only memory files that can never be executed."""
    try:
        attempt(lambda: os.close(os.memfd_create("hivebox-doctor", os.MFD_CLOEXEC | _MFD_NOEXEC_SEAL)))
    except (OSError, HiveboxError) as error:
        cause = causes.of(error, lambda os_error: causes.old_kernel(os_error, (6, 3)))
        return degraded("no memory files for programs, unless the profile has work_exec", cause)
    return ok("memfd_create(2), MFD_NOEXEC_SEAL")


def _kill_by_descriptor() -> None:
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(1)
    try:
        handle = os.pidfd_open(pid)
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.waitid(os.P_PIDFD, handle, os.WEXITED | os.WNOWAIT)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _count_to_three() -> bool:
    """True when the third process of a limit of two was refused. The others die with this one, which is PID 1."""
    resource.setrlimit(resource.RLIMIT_NPROC, (2, 2))
    _fork_and_wait()
    try:
        _fork_and_wait()
    except OSError as error:
        if error.errno != errno.EAGAIN:
            raise
        return True
    return False


def _fork_and_wait() -> None:
    if os.fork() == 0:
        signal.pause()
        os._exit(1)
