"""The caller's side of the service: starts it, sends jobs, reads what became of them. Safe to use from threads."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from socket import SHUT_RDWR

from hivebox.errors import HiveboxError, from_os_error
from hivebox.job import Job
from hivebox.launch.channel import Channel, body_error
from hivebox.report import Report

_MAIN = "import sys; sys.path.insert(0, sys.argv[2]); from hivebox.service.server import main; main(int(sys.argv[1]))"
_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# What the service reads of its environment (locations.py): with other values it has to be another service.
_VARIABLES = ("HIVEBOX_STATE", "HIVEBOX_CONFIG", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "HOME")
_END_S = 10.0


class Call:
    """One job on its way: the descriptors that go with it, and the socket on which it is answered."""

    def __init__(self, job: Job, stdin_fd: int, stdout_fd: int | None, stderr_fd: int | None) -> None:
        """``stdout_fd`` and ``stderr_fd``: None keeps the stream. All descriptors stay the caller's."""
        self._kept: list[int] = []
        sinks = [self._keep() if handle is None else handle for handle in (stdout_fd, stderr_fd)]
        self._kept_of = (stdout_fd is None, stderr_fd is None)
        self._fds = (*sinks, *(handle for handle in (stdin_fd, job.script_fd) if handle >= 0))
        self._body = {"job": job._asdict(), "stdin": stdin_fd >= 0, "environ": dict(os.environ)}
        self._peer: Channel | None = None

    def _keep(self) -> int:
        """Memory for a stream, which the service writes and nobody has to read meanwhile."""
        self._kept.append(os.memfd_create("stream", os.MFD_CLOEXEC))
        return self._kept[-1]

    def send(self) -> int:
        """A descriptor that is readable when the answer is there. Raises HiveboxError without a service."""
        self._peer, theirs = Channel.pair()
        try:
            _service.send(self, self._body, (theirs.fileno(), *self._fds))
        finally:
            theirs.close()
        return self._peer.fileno()

    def report(self) -> Report:
        """Blocks until the answer is there. Raises HiveboxError as pipeline.begin()."""
        assert self._peer  # noqa: S101  # sent
        message = self._peer.receive()
        if message is None:
            why = "its process ended; the run's record says `aborted` as soon as another run is recorded"
            raise HiveboxError("the supervisor died during the run", why, "see the kernel's log: dmesg")
        if message.kind == "error":
            raise body_error(message.body)
        kept = iter(self._kept)
        return Report.from_wire(message.body, *(_content(next(kept)) if keep else None for keep in self._kept_of))

    def close(self) -> None:
        """Ends the run where it still lasts. Safe to call twice."""
        _service.calls.discard(self)
        if self._peer:
            self._peer.close()
        for handle in self._kept:
            os.close(handle)
        self._kept = []

    def give_up(self) -> None:
        """Ends the run from another thread than the one that waits for it, which then hears of a dead supervisor."""
        if self._peer:
            self._peer.socket.shutdown(SHUT_RDWR)


def _content(handle: int) -> bytes:
    return os.pread(handle, os.fstat(handle).st_size, 0)


class _Service:
    """The process and our end of its door."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._door: Channel | None = None
        self._environment: tuple[str | None, ...] = ()
        self._processes: list[subprocess.Popen[bytes]] = []  # the last is the one behind the door
        self.calls: set[Call] = set()

    def send(self, call: Call, body: dict[str, object], fds: tuple[int, ...]) -> None:
        with self._lock:
            self.calls.add(call)
            door = self._opened()
            try:
                door.send("run", body, fds)
            except (BrokenPipeError, ConnectionResetError):  # it died since the last run
                self._close()
                self._opened().send("run", body, fds)

    def _opened(self) -> Channel:
        environment = tuple(os.environ.get(name) for name in _VARIABLES)
        if self._door and self._environment != environment:
            self._close()
        if self._door is None:
            self._start()
            self._environment = environment
        assert self._door  # noqa: S101  # started
        return self._door

    def _start(self) -> None:
        self._processes = [process for process in self._processes if process.poll() is None]
        door, theirs = Channel.pair()
        command = [sys.executable, "-I", "-c", _MAIN, str(theirs.fileno()), _PACKAGE]
        try:
            # A session of its own: what a terminal sends to the caller is the caller's to pass on.
            process = subprocess.Popen(  # noqa: S603  # our own words
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except OSError as error:
            door.close()
            raise from_os_error("cannot start the service", error, "check sys.executable") from error
        finally:
            theirs.close()
        self._processes.append(process)
        self._door = door

    def _close(self) -> None:
        """Close the door and leave the process to its last runs."""
        if self._door:
            self._door.close()
            self._door = None

    def end(self) -> None:
        """At the caller's own end: runs that nobody waits for are ended, and nothing of ours is left behind."""
        with self._lock:
            self._close()
            for call in self.calls:
                call.give_up()
            processes, self._processes = self._processes, []
        for process in processes:
            process.wait(_END_S)

    def after_fork(self) -> None:
        """In a child of the caller: the service is the parent's, and so are its runs."""
        self._lock = threading.Lock()
        self._close()
        for call in list(self.calls):
            call.close()
        for process in self._processes:
            process.returncode = 0  # not ours to wait for
        self._processes = []


_service = _Service()


def end() -> None:
    """End what still runs, and the service; the next run starts another. Done by itself when the caller exits."""
    _service.end()


atexit.register(end)
os.register_at_fork(after_in_child=_service.after_fork)
