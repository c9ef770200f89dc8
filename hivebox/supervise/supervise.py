"""The event loop of one run."""

from __future__ import annotations

import os
import select
import time

from hivebox import plainjson
from hivebox.errors import HiveboxError
from hivebox.frozen import Frozen
from hivebox.kernel.cgroup import Usage
from hivebox.launch.channel import body_error
from hivebox.launch.launch import UNDYING_S, Sandbox, kill
from hivebox.plan.plan import Plan
from hivebox.policy.model import Limits
from hivebox.report import Cause, Ending, Violation
from hivebox.steps.environment import Sinks
from hivebox.supervise.meter import CgroupMeter, Meter, PollMeter
from hivebox.supervise.orders import GONE
from hivebox.supervise.output import Budget, Feeder, Pump
from hivebox.supervise.violations import Refusals
from hivebox.units import format_duration, format_size
from hivebox.waiting import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any

    from hivebox.network.process import Relay
    from hivebox.supervise.orders import Orders
    from hivebox.waiting import Waiting
else:
    import _signal as signal  # without the enumerations, which cost 3 ms

_CANCEL_GRACE_S = 2.0
_KILLED_CHECK_S = 0.05


class Finished(Frozen):
    """The ending, and the streams that were kept. ``undying``: something of the sandbox outlived its SIGKILL, as only
    what waits in the kernel can, for a file system that does not answer."""

    ending: Ending
    stdout: bytes | None
    stderr: bytes | None
    undying: bool = False


class Supervision:
    """Watches one sandbox from ``go`` to the end of its payload. ``run()`` is called once."""

    def __init__(
        self, plan: Plan, sandbox: Sandbox, limits: Limits, kill_after: int, sinks: Sinks, orders: Orders
    ) -> None:
        self._sandbox = sandbox
        self._orders = orders
        self._limits = limits
        self._started = time.monotonic()
        self._cause: Cause | None = None
        self._outcome = ""
        self._exit: dict[str, Any] = {}
        self._failure: HiveboxError | None = None
        self._deadline = self._started + limits.wall_time_s
        self._ended = 0.0
        self._init_is_dead = False
        self._killed = 0.0
        self._undying = False
        self._cancelled = 0
        group = plan.cgroup.group
        self._group = group
        self._meter: Meter = (
            CgroupMeter(group, sandbox.init_pid) if group else PollMeter(sandbox.init_pid, sandbox.work_fd)
        )
        self._budget = Budget(limits.output_size_bytes)
        stdin_fd, stdout_fd, stderr_fd = plan.streams.take()
        self._stdout = Pump(stdout_fd, sinks.stdout_fd, self._budget)
        self._stderr = Pump(stderr_fd, sinks.stderr_fd, self._budget)
        self._feeder = Feeder(sinks.stdin_fd, stdin_fd) if stdin_fd >= 0 else None
        self._refusals = Refusals(sandbox.notify_fd, self._started, kill_after)
        self._relay = plan.network.relay
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._stream_fds: dict[int, int] = {}

    def run(self) -> Waiting[Finished]:
        """Let the payload go and stay with it to the end. Raises HiveboxError when it could not be executed."""
        try:
            self._watch(self._orders.fd, self._on_order)
            self._watch_sandbox()
            self._sandbox.go()
            while not self._is_over():
                self._poll_streams()
                yield Wait(self._epoll.fileno(), self._timeout_s())
                self._turn()
        except BaseException:
            kill(self._sandbox.init_fd)
            raise
        finally:
            self._close()
        if self._failure:
            raise self._failure
        kept = (bytes(pump.kept) if pump.sink_fd is None else None for pump in self._pumps())
        return Finished(self._ending(), *kept, undying=self._undying)

    # -- what is watched -------------------------------------------------------------------------------------------

    def _watch(self, handle: int, handler: Callable[[], None], events: int = select.EPOLLIN) -> None:
        self._epoll.register(handle, events)
        self._handlers[handle] = handler

    def _unwatch(self, handle: int) -> None:
        self._epoll.unregister(handle)
        del self._handlers[handle]

    def _watch_sandbox(self) -> None:
        sandbox = self._sandbox
        self._watch(sandbox.channel.fileno(), self._on_message)
        self._watch(sandbox.exec_error_fd, self._on_exec)
        self._watch(sandbox.init_fd, self._on_init_death)
        if sandbox.notify_fd >= 0:
            self._watch(sandbox.notify_fd, self._on_refusal)
        if self._relay:
            self._watch_relay(self._relay)
        for handle, (limit, events) in (self._group.watch() if self._group else {}).items():
            self._watch(handle, lambda limit=limit, handle=handle: self._on_limit(limit, handle), events)  # type: ignore[misc]

    def _watch_relay(self, relay: Relay) -> None:
        from hivebox.supervise.callers import Callers  # noqa: PLC0415  # only with a network allowlist

        callers = Callers(relay, self._sandbox.init_pid)

        def on_readable() -> None:
            if not callers.on_readable():
                self._unwatch(relay.fileno())

        self._watch(relay.fileno(), on_readable)

    def _pumps(self) -> tuple[Pump, Pump]:
        return self._stdout, self._stderr

    def _open_pumps(self) -> list[Pump]:
        return [pump for pump in self._pumps() if pump.open]

    def _poll_streams(self) -> None:
        """Register for each stream the one direction it waits for."""
        wanted: dict[int, tuple[int, Callable[[], None]]] = {}
        for pump in self._pumps():
            if pump.open and pump.wants_write() and pump.sink_fd is not None:
                wanted[pump.sink_fd] = (select.EPOLLOUT, pump.on_writable)
            elif pump.open:
                wanted[pump.source_fd] = (select.EPOLLIN, pump.on_readable)
        feeder = self._feeder
        if feeder and feeder.open and not self._ended:
            if feeder.wants_write():
                wanted[feeder.sink_fd] = (select.EPOLLOUT, feeder.on_writable)
            else:
                wanted[feeder.source_fd] = (select.EPOLLIN, feeder.on_readable)
        for handle, events in list(self._stream_fds.items()):
            if handle not in wanted or wanted[handle][0] != events:
                self._forget_stream(handle)
        for handle, (events, handler) in wanted.items():
            if handle not in self._stream_fds:
                self._epoll.register(handle, events)
                self._stream_fds[handle] = events
            self._handlers[handle] = handler

    def _forget_stream(self, handle: int) -> None:
        del self._stream_fds[handle]
        self._handlers.pop(handle, None)
        try:
            self._epoll.unregister(handle)
        except (FileNotFoundError, OSError):
            return  # closed by its owner, which takes it out of the set

    # -- the loop --------------------------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        return bool(self._ended) and not self._open_pumps()

    def _turn(self) -> None:
        for handle, events in self._epoll.poll(0):
            handler = self._handlers.get(handle)
            if handler and events == select.EPOLLHUP and handle == self._sandbox.notify_fd:
                self._unwatch(handle)  # every process under the filter is dead; it would stay ready for ever
            elif handler:
                handler()
        if self._budget.exceeded:
            size = format_size(self._limits.output_size_bytes)
            self._stop("output", Cause("output_size", "supervisor", f"output limit of {size} reached"))
        if self._init_is_dead:
            for pump in self._pumps():
                pump.drain()
        if self._killed and not self._ended and time.monotonic() - self._killed > UNDYING_S:
            self._undying = True
            self._ended = time.monotonic()
            self._close_pumps()
        if not self._ended:
            self._check_clock()

    def _timeout_s(self) -> float:
        if self._ended:
            return 0.0 if self._init_is_dead and not all(pump.wants_write() for pump in self._open_pumps()) else -1.0
        if self._killed:
            return _KILLED_CHECK_S
        remaining = max(self._deadline - time.monotonic(), 0.0)
        return min(remaining, self._meter.next_check_s(self._limits))

    def _check_clock(self) -> None:
        limits = self._limits
        if time.monotonic() >= self._deadline:
            if self._cancelled:
                self._kill()
            text = f"wall time limit of {format_duration(limits.wall_time_s)} reached"
            self._stop("timeout", Cause("wall_time", "supervisor", text))
        self._check_meter()

    def _check_meter(self) -> None:
        over = self._meter.over(self._limits)
        if over:
            self._stop_for(over)

    def _stop(self, outcome: str, cause: Cause) -> None:
        """The first cause stands."""
        if not self._outcome:
            self._outcome, self._cause = outcome, cause
            self._kill()

    def _stop_for(self, limit: str) -> None:
        limits = self._limits
        texts = {
            "memory": f"memory limit of {format_size(limits.memory_bytes)} reached",
            "pids": f"limit of processes and threads reached: {limits.pids}",
            "cpu_time": f"CPU time limit of {format_duration(limits.cpu_time_s)} reached",
        }
        self._stop(limit, Cause(limit, self._meter.mechanism, texts[limit]))

    def _settle(self) -> None:
        """Init waits for the word, since a scope of systemd ends with it."""
        if self._group:
            self._group.settle()
            if self._group.late:
                self._sandbox.release_init()

    def _kill(self) -> None:
        if self._group:
            self._group.settle()
        self._killed = self._killed or time.monotonic()
        kill(self._sandbox.init_fd)
        if self._group:
            self._group.kill()

    # -- events ----------------------------------------------------------------------------------------------------

    def _on_message(self) -> None:
        message = self._sandbox.channel.receive()
        if message is None:
            self._unwatch(self._sandbox.channel.fileno())
        elif message.kind == "exit":
            self._exit = message.body
            self._settle()
            self._ended = self._ended or time.monotonic()

    def _on_exec(self) -> None:
        reason = os.read(self._sandbox.exec_error_fd, 1 << 16)
        self._unwatch(self._sandbox.exec_error_fd)
        if reason:
            self._failure = body_error(plainjson.loads(reason))

    def _on_init_death(self) -> None:
        self._ended = self._ended or time.monotonic()
        self._init_is_dead = True
        self._unwatch(self._sandbox.init_fd)

    def _on_refusal(self) -> None:
        self._refusals.on_readable()
        if self._refusals.too_many:
            self._unwatch(self._sandbox.notify_fd)
            text = f"too many refused system calls: {self._refusals.total}"
            self._stop("killed_by_policy", Cause("syscalls", "seccomp", text))
            self._kill()  # also when it was being ended for another reason, at its leisure

    def _on_limit(self, limit: str, handle: int) -> None:
        """The file of events changes for lesser ones too. That of a group which is gone stays ready for ever."""
        if self._ended:
            self._unwatch(handle)
        elif self._group and self._group.reached(limit):
            self._unwatch(handle)
            self._stop_for(limit)

    def _on_order(self) -> None:
        """Pass the first signal on and give the payload a moment; end it at the second."""
        number = self._orders.take()
        if self._ended:  # only a reader that does not read keeps us
            self._close_pumps()
        if number == GONE:
            self._unwatch(self._orders.fd)
            text = "whoever asked for the run is gone"
            self._stop("cancelled", Cause("caller", "supervisor", text))
            return
        if self._cancelled:
            self._kill()
            return
        self._cancelled = number
        from signal import Signals  # noqa: PLC0415  # few runs are interrupted

        name = Signals(number).name
        if not self._outcome:
            self._outcome, self._cause = "cancelled", Cause("signal", "supervisor", f"hivebox received {name}")
        try:
            signal.pidfd_send_signal(self._sandbox.payload_fd, number)
        except ProcessLookupError:
            return
        self._deadline = min(self._deadline, time.monotonic() + _CANCEL_GRACE_S)

    # -- the end ---------------------------------------------------------------------------------------------------

    def _close_pumps(self) -> None:
        for pump in self._pumps():
            pump.close()

    def _close(self) -> None:
        self._close_pumps()
        if self._feeder:
            self._feeder.finish()
        self._epoll.close()

    def _ending(self) -> Ending:
        for pump in self._pumps():
            if pump.error and not self._cause:
                self._cause = Cause("streams", "supervisor", pump.error)
        if not self._outcome:
            for limit in ("memory", "pids"):
                if self._group and self._group.reached(limit):
                    self._stop_for(limit)
        if isinstance(self._meter, PollMeter) and self._exit:
            self._meter.add_reaped(*(self._exit[key] for key in ("cpu_user_s", "cpu_system_s")))
        usage = self._meter.usage()
        exit_code, signal_number = self._exit.get("exit_code"), self._exit.get("signal")
        if not self._exit:
            signal_number = int(self._cancelled or signal.SIGKILL)
        return Ending(
            outcome=self._outcome or self._plain_outcome(exit_code, signal_number, usage),
            exit_code=exit_code,
            signal=signal_number,
            cause=self._cause,
            wall_s=round(self._ended - self._started, 6),
            **usage._asdict(),
            stdout_bytes=self._stdout.total_bytes,
            stderr_bytes=self._stderr.total_bytes,
            violations=self._violations(signal_number),
            violations_dropped=self._refusals.dropped,
        )

    def _plain_outcome(self, exit_code: int | None, signal_number: int | None, usage: Usage) -> str:
        """A signal proves little: a script can send itself any."""
        used_s = usage.cpu_user_s + usage.cpu_system_s
        if signal_number == signal.SIGSYS:
            text = "a system call of a foreign architecture was made, or SIGSYS was sent by the script itself"
            self._cause = Cause("syscalls", "seccomp", text)
            return "killed_by_policy"
        if signal_number == signal.SIGXFSZ:
            size = format_size(self._limits.file_size_bytes)
            text = f"file size limit of {size} reached, or SIGXFSZ was sent by the script itself"
            self._cause = Cause("file_size", "rlimit", text)
        if signal_number == signal.SIGXCPU and used_s >= self._limits.cpu_time_s:
            self._cause = Cause("cpu_time", "rlimit", f"CPU time limit of {self._limits.cpu_time_s:g} s reached")
            return "cpu_time"
        if signal_number is not None:
            return "signaled"
        return "ok" if exit_code == 0 else "failed"

    def _violations(self, signal_number: int | None) -> tuple[Violation, ...]:
        found = self._refusals.violations()
        if signal_number == signal.SIGSYS:
            found += (Violation("syscall", "foreign_architecture", (), 0, 0.0, 1),)
        return found
