"""The supervisor's side of the launch."""

from __future__ import annotations

import os

from hivebox import plainjson
from hivebox.errors import HiveboxError, from_os_error
from hivebox.frozen import Frozen
from hivebox.kernel import process
from hivebox.launch.channel import Channel, Message, body_error
from hivebox.launch.child import run_init
from hivebox.plan.plan import Plan
from hivebox.steps.step import Step
from hivebox.waiting import Wait, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from hivebox.launch.zygote import Zygote
    from hivebox.waiting import Waiting
else:
    import _signal as signal  # without the enumerations, which cost 3 ms

_SETUP_S = 60.0
UNDYING_S = 20.0  # SIGKILL takes milliseconds; gigabytes take a while to be given back
_USERNS_HINT = "run `hivebox doctor`: it names the sysctl or policy that restricts user namespaces and the fix"


class Sandbox(Frozen):
    """A sandbox whose payload waits for ``go``. The supervisor owns every descriptor (``close``)."""

    init_pid: int
    init_fd: int
    channel: Channel
    exec_error_fd: int
    work_fd: int
    payload_fd: int
    notify_fd: int

    def go(self) -> None:
        """Let the payload exec."""
        self.channel.socket.send(b"g")

    def release_init(self) -> None:
        """Let init end, where it waits for that."""
        try:
            self.channel.send("settled")
        except (BrokenPipeError, ConnectionResetError):
            return  # killed meanwhile

    def wait(self) -> Waiting[bool]:
        """Until init, and with it every process of the sandbox, is dead: it ends after the payload. False when not."""
        yield Wait(self.init_fd, UNDYING_S)
        return os.waitid(os.P_PIDFD, self.init_fd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def close(self) -> None:
        """Reap init, if it is dead, and close what the supervisor holds."""
        os.waitid(os.P_PIDFD, self.init_fd, os.WEXITED | os.WNOHANG)
        for handle in (self.init_fd, self.exec_error_fd, self.work_fd, self.payload_fd, self.notify_fd):
            if handle >= 0:
                os.close(handle)
        self.channel.close()


class Launch:
    """In two halves, so that the caller can do its own work (sign the ``started`` record) while the child mounts."""

    def __init__(self, plan: Plan, zygote: Zygote | None = None) -> None:
        """Prepare the steps and clone init, from ``zygote`` if there is one, else from this process. Raises
        HiveboxError; nothing is left behind then."""
        self._plan = plan
        self._channel, theirs = Channel.pair()
        self._exec_error_fd, exec_error_child_fd = os.pipe()
        self.init_pid = 0
        self._init_fd = -1
        try:
            for step in plan.steps:
                _supervised(step, step.prepare)
            self.init_pid = _clone(plan, theirs, exec_error_child_fd, zygote)
            self._init_fd = _pidfd_open(self.init_pid)
            for step in plan.steps:
                _supervised(step, step.attach, self.init_pid)
            self._channel.send("mapped", fds=plan.cgroup.late_fds())
        except BaseException:
            self.abort()
            raise
        finally:
            theirs.close()
            os.close(exec_error_child_fd)

    def abort(self) -> None:
        """Kill and reap init, if any, and close everything."""
        if self.init_pid:
            os.kill(self.init_pid, signal.SIGKILL)  # not reaped yet, so the number is still its own
            self._reap_killed()
        if self._init_fd >= 0:
            os.close(self._init_fd)
        self._channel.close()
        os.close(self._exec_error_fd)

    def _reap_killed(self) -> None:
        if self._init_fd >= 0:
            sleep(Wait(self._init_fd, UNDYING_S))
        os.waitpid(self.init_pid, os.WNOHANG if self._init_fd >= 0 else 0)

    def wait_ready(self) -> Waiting[Sandbox]:
        """Wait until the payload is set up, filter and all. Raises HiveboxError with the sandbox's own reason."""
        try:
            ready = yield from self._expect("ready")
            work_fd, *notify_fds = ready.fds
            yield from self._plan.network.wait_ready()
        except BaseException:
            self.abort()
            raise
        return Sandbox(
            init_pid=self.init_pid,
            init_fd=self._init_fd,
            channel=self._channel,
            exec_error_fd=self._exec_error_fd,
            work_fd=work_fd,
            payload_fd=_pidfd_open(ready.pid),
            notify_fd=notify_fds[0] if notify_fds else -1,
        )

    def _expect(self, kind: str) -> Waiting[Message]:
        yield Wait(self._channel.fileno(), _SETUP_S)
        if not self._channel.has_message():
            why = f"it is not ready after {_SETUP_S:g} s: a granted path may be on a file system that does not answer"
            raise HiveboxError("cannot set up the sandbox", why, "try it with fewer grants")
        message = self._channel.receive()
        if message is not None and message.kind == kind:
            return message
        if message is not None and message.kind == "error":
            raise body_error(message.body)
        # The payload died during its set-up: its reason is on the other pipe.
        reason = os.read(self._exec_error_fd, 1 << 16)
        if reason:
            raise body_error(plainjson.loads(reason))
        raise HiveboxError("the sandbox died while it was set up", f"expected {kind!r}, got {message}", "report this")


def kill(init_fd: int) -> None:
    """SIGKILL to PID 1: the kernel then kills every process of the namespace, stopped and orphaned ones too."""
    try:
        signal.pidfd_send_signal(init_fd, signal.SIGKILL)
    except ProcessLookupError:
        return


def _supervised(step: Step, act: Callable[..., None], *arguments: int) -> None:
    try:
        act(*arguments)
    except OSError as error:
        raise from_os_error(f"cannot prepare {step.name}", error, "run `hivebox doctor`") from error


def _pidfd_open(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        raise from_os_error("cannot watch the sandbox", error, "pidfd_open(2) needs Linux 5.3") from error


def _clone(plan: Plan, channel: Channel, exec_error_fd: int, zygote: Zygote | None) -> int:
    """Returns in the supervisor only."""
    try:
        if zygote:
            return zygote.clone(plan, channel, exec_error_fd)
        pid = process.clone(plan.namespaces.clone_flags)
    except OSError as error:
        raise from_os_error("cannot make the sandbox's namespaces", error, _USERNS_HINT) from error
    if pid == 0:
        run_init(plan, channel, exec_error_fd)
    return pid
