"""A process that does nothing but clone, so that every init is a copy of one that knows nothing.

The service attends many runs: an init that was its copy would have the arguments, variables and outputs of all of them
in its memory, and each page that the service writes to afterwards would be one more page of that init's own. The zygote
was forked before the first job came. It gets a plan, pickled, and the steps' descriptors, and clones a child of the
service (CLONE_PARENT), which takes these descriptors at the numbers that the plan knows.
"""

from __future__ import annotations

import fcntl
import gc
import os
import pickle

from hivebox.errors import HiveboxError
from hivebox.kernel import process
from hivebox.kernel.write import write_all
from hivebox.launch.channel import Channel, Message
from hivebox.launch.child import run_init
from hivebox.network import listeners  # noqa: F401  # an init imports nothing
from hivebox.plan.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

NAME = "hivebox-zygote"
_FAILED = 125


class Zygote:
    """The service's side. Forks; make it before there is anything to know."""

    def __init__(self) -> None:
        self._door, theirs = Channel.pair()
        self._pid = os.fork()
        if self._pid == 0:
            _serve(theirs)
        theirs.close()

    def clone(self, plan: Plan, channel: Channel, exec_error_fd: int) -> int:
        """The pid of an init, a child of this process. Raises OSError as clone(2) does."""
        handles = (channel.fileno(), exec_error_fd, *plan.child_fds())
        plan_fd = os.memfd_create("plan", os.MFD_CLOEXEC)
        try:
            write_all(plan_fd, pickle.dumps(plan, pickle.HIGHEST_PROTOCOL))
            numbers = {"numbers": handles, "flags": plan.namespaces.clone_flags}
            self._door.send("clone", numbers, (plan_fd, *handles))
            answer = self._door.receive()
        finally:
            os.close(plan_fd)
        if answer is None:
            raise HiveboxError("cannot clone a sandbox", "the zygote has died", "run it again, in a new process")
        if answer.body["errno"]:
            raise OSError(answer.body["errno"], os.strerror(answer.body["errno"]))
        pid: int = answer.body["pid"]
        return pid

    def close(self) -> None:
        """End it."""
        self._door.close()
        os.waitpid(self._pid, 0)


def _serve(door: Channel) -> NoReturn:
    try:
        process.keep_only((door.fileno(),))
        process.set_name(NAME)
        gc.freeze()  # a collection need not touch what every init shares
        while request := door.receive():
            door.send("cloned", _clone(request))
            for handle in request.fds:
                os.close(handle)
    finally:
        os._exit(0)


def _clone(request: Message) -> dict[str, int]:
    try:
        pid = process.clone(process.CLONE_PARENT | request.body["flags"])
    except OSError as error:
        return {"pid": 0, "errno": error.errno or 0}
    if pid == 0:
        _become_init(request)
    return {"pid": pid, "errno": 0}


def _become_init(request: Message) -> NoReturn:
    """Whatever fails before init can speak for itself ends it; the service then finds its channel closed."""
    try:
        gc.disable()
        plan_fd, *handles = request.fds
        plan: Plan = pickle.loads(os.pread(plan_fd, os.fstat(plan_fd).st_size, 0))  # noqa: S301  # our own service's
        numbers = request.body["numbers"]
        _move(handles, numbers)
        channel_fd, exec_error_fd = numbers[:2]
        run_init(plan, Channel.on(channel_fd), exec_error_fd)
    finally:
        os._exit(_FAILED)


def _move(handles: list[int], numbers: list[int]) -> None:
    """Give each descriptor its number. They are first put above all numbers: one may be where another has to go."""
    above = max((*numbers, *handles)) + 1
    for handle, number in [
        (fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, above), number)
        for handle, number in zip(handles, numbers, strict=True)
    ]:
        os.dup2(handle, number, inheritable=False)
