"""The relay's process: forked by the supervisor before there is a sandbox, a key or a ledger; gone with either.

supervisor  ── control (SOCK_STREAM) ──  relay  ── sockets (SOCK_SEQPACKET) ──  the sandbox's init
             <- "r": it serves                  <- the list of sockets, and they themselves
             <- lines: whose is this socket?
             -> lines: the socket's, the pid
             -> end of stream: finish
             <- the summary, as a line of JSON
"""

from __future__ import annotations

import _socket
import array
import gc
import os
import resource
import signal

from hivebox import plainjson
from hivebox.kernel import landlock, process
from hivebox.policy.model import Network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

MOST_SOCKETS = 250  # SCM_MAX_FD is 253
NAME = "hivebox-net"
_NOBODY = 65534
_OPEN_FILES = 8192
_MEMORY_BYTES = 512 << 20
READY, _LONGEST_LINE, _LONGEST_SUMMARY = b"r", 32, 16 << 20


def run_broker(parent: int, control_fd: int, sandbox_fd: int, run_id: str, values: Network) -> NoReturn:
    """In the new process; never returns. What goes wrong ends it, and with it the sandbox's way out."""
    status = 1
    try:
        _detach(parent, (control_fd, sandbox_fd))
        from hivebox.network import broker, configuration  # noqa: PLC0415  # here, while the sandbox mounts

        control = _socket.socket(fileno=control_fd)
        found = configuration.configure(values.dns)
        served = broker.Broker(run_id, values.allow, found, lambda inode: _ask(control, inode))
        _confine()
        served.serve(_receive(sandbox_fd))
        _serve(served, control)
        status = 0
    finally:
        os._exit(status)


def _detach(parent: int, kept: tuple[int, int]) -> None:
    """No descriptor, signal or name of the supervisor; and it ends with it."""
    process.set_pdeathsig(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    process.keep_only(kept)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a terminal sends them to all
        signal.signal(number, signal.SIG_IGN)  # the supervisor decides
    process.set_name(NAME)
    gc.enable()


def _confine() -> None:
    """It parses what a hostile script and the Internet send: no files, no capabilities, no new ones, an end to its
    memory. As root it becomes nobody."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (_OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard), hard)
    )
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    process.set_no_new_privs()
    process.drop_capabilities()
    process.set_dumpable(dumpable=False)
    process.set_pdeathsig(signal.SIGKILL)  # a change of credentials cleared it
    version = landlock.abi()
    if version:
        ruleset_fd = landlock.create_ruleset(version)
        landlock.restrict_self(ruleset_fd)
        os.close(ruleset_fd)


def _receive(sandbox_fd: int) -> list[Any]:
    """What init sent. Ends the process when init died before."""
    from hivebox.network.broker import Bound  # noqa: PLC0415

    channel = _socket.socket(fileno=sandbox_fd)
    space = _socket.CMSG_SPACE(MOST_SOCKETS * 4)
    data, ancillary, _flags, _address = channel.recvmsg(1 << 16, space, _socket.MSG_CMSG_CLOEXEC)
    channel.close()
    if not data:
        os._exit(0)
    handles = array.array("i")
    for _level, _kind, content in ancillary:
        handles.frombytes(content)
    return [Bound(*facts, handle) for facts, handle in zip(plainjson.loads(data), handles, strict=True)]


def _ask(control: _socket.socket, inode: int) -> None:
    """Of the supervisor, if it listens."""
    try:
        control.send(b"%d\n" % inode, _socket.MSG_DONTWAIT)
    except OSError:
        return  # it has more than enough to read


def _serve(served: Any, control: _socket.socket) -> None:
    """Until the supervisor shuts its side down."""
    over: list[bool] = []

    def on_readable(_events: int) -> None:
        answers = control.recv(1 << 16)
        for line in answers.splitlines():
            served.events.learn(*map(int, line.split()))
        if not answers:
            over.append(True)

    served.loop.watch(control.fileno(), 0x1, on_readable)
    control.send(READY)
    while not over:
        served.loop.turn()
    control.sendall(plainjson.dumps(served.finish()).encode())


class Relay:
    """The supervisor's side. It owns the process and its end of the control socket."""

    def __init__(self, run_id: str, values: Network) -> None:
        """Forks. ``sandbox_fd`` is for init; the supervisor closes its copy with ``hand_over``."""
        self._control, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        ours, init_end = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        self.sandbox_fd = init_end.detach()
        parent = os.getpid()
        self._left = b""
        self._pid = os.fork()
        if self._pid == 0:
            run_broker(parent, theirs.fileno(), ours.fileno(), run_id, values)
        theirs.close()
        ours.close()

    def hand_over(self) -> None:
        """Init has its copy by now. Safe to call twice."""
        if self.sandbox_fd >= 0:
            os.close(self.sandbox_fd)
            self.sandbox_fd = -1

    def fileno(self) -> int:
        """Readable when it serves, when it asks, and when it has something to say at the end."""
        return self._control.fileno()

    def is_ready(self) -> bool:
        """True when it serves; False when it died instead."""
        return self._control.recv(1) == READY

    def questions(self) -> list[int] | None:
        """The sockets (inodes) whose holder it asks for; None when it is gone, or says anything else."""
        try:
            data = self._control.recv(1 << 12, _socket.MSG_DONTWAIT)
            *lines, self._left = (self._left + data).split(b"\n")
            return [int(line) for line in lines] if data and len(self._left) < _LONGEST_LINE else None
        except BlockingIOError:
            return []
        except (OSError, ValueError):
            return None

    def answer(self, inode: int, pid: int) -> None:
        """Lost if it does not read."""
        try:
            self._control.send(b"%d %d\n" % (inode, pid), _socket.MSG_DONTWAIT)
        except OSError:
            return

    def ask_summary(self) -> None:
        """The run is over: let it finish."""
        try:
            self._control.shutdown(_socket.SHUT_WR)
        except OSError:
            return  # it died

    def has_said_all(self) -> bool:
        """Take what it says, without waiting; True when no more will come."""
        try:
            while len(self._left) < _LONGEST_SUMMARY and (piece := self._control.recv(1 << 16, _socket.MSG_DONTWAIT)):
                self._left += piece
        except BlockingIOError:
            return False
        except OSError:
            return True  # it died
        return True

    def summary(self) -> dict[str, Any] | None:
        """What it has said at the end, or None when it died before."""
        try:
            summary: dict[str, Any] = plainjson.loads(self._left.rpartition(b"\n")[2])
        except ValueError:
            return None
        return summary

    def close(self) -> None:
        """Kill and reap it. Safe to call twice."""
        self.hand_over()
        self._control.close()
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)  # not reaped yet, so the number is still its own
            os.waitpid(self._pid, 0)
            self._pid = 0
