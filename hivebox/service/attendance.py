"""One run in the service: its generator, what it waits for, and the caller's socket."""

from __future__ import annotations

import os

from hivebox.errors import HiveboxError
from hivebox.job import Job
from hivebox.launch.aside import aside
from hivebox.launch.channel import Channel, Message, error_body
from hivebox.loop import READ, Loop, Timer
from hivebox.pipeline import begin
from hivebox.policy.model import Mount, Rootfs
from hivebox.report import Report
from hivebox.rootfs.store import Tree, ensure, find
from hivebox.steps.environment import Sinks
from hivebox.supervise.orders import PeerOrders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from hivebox.audit.recorder import Recorder
    from hivebox.launch.zygote import Zygote
    from hivebox.waiting import Waiting


class Attendance:
    """``over`` is called with this object when the sandbox is down and every descriptor closed."""

    def __init__(
        self, loop: Loop, recorder: Recorder, zygote: Zygote, message: Message, over: Callable[[Attendance], None]
    ) -> None:
        peer_fd, *self._fds = message.fds
        self._peer = Channel.on(peer_fd)
        self._loop = loop
        self._recorder = recorder
        self._zygote = zygote
        self._over = over
        self._work = self._attend(message)
        self._timer: Timer | None = None

    def start(self) -> None:
        """Go as far as can be gone without waiting."""
        try:
            wait = next(self._work)
        except StopIteration:
            self._end()
        except HiveboxError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001  # it ends this run, not the others
            self._fail(HiveboxError("the supervisor failed", repr(error), "report this"))
        else:
            self._loop.watch(wait.fd, READ, lambda _: self._go_on(wait.fd))
            if wait.timeout_s >= 0:
                self._timer = self._loop.after(wait.timeout_s, lambda: self._go_on(wait.fd))

    def _go_on(self, waited_fd: int) -> None:
        # Every time, since the generator may close it, and its number then is another's.
        self._loop.forget(waited_fd)
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self.start()

    def _attend(self, message: Message) -> Waiting[None]:
        job, sinks = _job_of(message, self._fds)
        policy = job.policy()
        tree = yield from _built(policy.rootfs)
        inputs = job.inputs(policy, tree, sinks, message.body["environ"])
        attendants = PeerOrders(self._peer.fileno()), self._recorder
        yield from begin(inputs, self._deliver, lambda: attendants, aside=aside, zygote=self._zygote)

    def _deliver(self, report: Report) -> None:
        self._say("report", report.wire())

    def _fail(self, error: HiveboxError) -> None:
        self._say("error", error_body(error))
        self._end()

    def _say(self, kind: str, body: dict[str, object]) -> None:
        try:
            self._peer.send(kind, body)
        except (BrokenPipeError, ConnectionResetError):
            return  # nobody wants to know any more; the record has it

    def _end(self) -> None:
        self._peer.close()
        for handle in self._fds:
            os.close(handle)
        self._over(self)


def _built(rootfs: Rootfs) -> Waiting[Tree]:
    """The root. The first run of its kind builds it, which takes seconds."""
    wanted = rootfs.recipe, rootfs.interpreter
    found = find(*wanted)
    if found is None:
        yield from aside(lambda: ensure(*wanted)._asdict())
        found = ensure(*wanted)
    return found


def _job_of(message: Message, fds: list[int]) -> tuple[Job, Sinks]:
    """The job and its streams, in the order in which service/client.py sends the descriptors."""
    plain = message.body["job"]
    stdout_fd, stderr_fd, *others = fds
    stdin_fd = others.pop(0) if message.body["stdin"] else -1
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
    fields["mounts"] = tuple(Mount(*mount) for mount in plain["mounts"])
    fields["env_set"] = tuple((name, value) for name, value in plain["env_set"])
    fields["script_fd"] = others.pop(0) if plain["script_fd"] >= 0 else -1
    return Job(**fields), Sinks(stdin_fd, stdout_fd, stderr_fd)
