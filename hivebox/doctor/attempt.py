"""Doing something in a forked child, which may be alone in new namespaces, and hearing how it went."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NoReturn

from hivebox.errors import HiveboxError
from hivebox.kernel import process
from hivebox.steps.identity import UID_RANGE_START, Identity

_TIMEOUT_S = 20.0


def attempt(action: Callable[[], Any], clone_flags: int = 0) -> Any:
    """The JSON-ready value of ``action``, called in a child in the new namespaces of ``clone_flags``, mapped to a user
    as a run's init is. What it raises there, OSError or HiveboxError, is raised here. Raises TimeoutError."""
    identity = _identity() if clone_flags & process.CLONE_NEWUSER else None
    with ExitStack() as ours:
        with ExitStack() as childs:
            result_fd, go_fd = _pipe(ours, childs), _pipe(childs, ours)
            pid = process.clone(clone_flags)
            if pid == 0:
                os.close(go_fd[1])
                _serve(action, identity, go_fd[0], result_fd[1])
            ours.callback(_end, pid)
        if identity:
            identity.attach(pid)
        os.write(go_fd[1], b"g")
        return _value(_first_line(result_fd[0], pid))


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    read_fd, write_fd = os.pipe()
    reader.callback(os.close, read_fd)
    writer.callback(os.close, write_fd)
    return read_fd, write_fd


def _identity() -> Identity:
    """The run's own step, but with the first uid of the range instead of an allocated one: that would leave a file."""
    identity = Identity("")
    if identity.allocated:
        identity.host_uid = identity.host_gid = UID_RANGE_START
    return identity


def _serve(action: Callable[[], Any], identity: Identity | None, go_fd: int, result_fd: int) -> NoReturn:
    """The child. Never returns: the doctor's own exit handlers are not for it."""
    try:
        if not os.read(go_fd, 1):
            os._exit(1)  # the doctor could not map our user
        if identity:
            identity.set_up()
        process.set_pdeathsig(signal.SIGKILL)
        reply: dict[str, Any] = {"value": action()}
    except OSError as error:
        reply = {"os_error": _plain(error)}
    except HiveboxError as error:
        cause = error.__cause__
        reply = {"error": [error.what, error.why, error.hint]}
        reply["os_error"] = _plain(cause) if isinstance(cause, OSError) else None
    except BaseException as error:  # noqa: BLE001  # the last resort of a process that must not return
        reply = {"error": ["a probe failed", repr(error), "report this"], "os_error": None}
    os.write(result_fd, json.dumps(reply).encode() + b"\n")
    os._exit(0)


def _plain(error: OSError) -> list[Any]:
    return [error.errno or 0, os.fsdecode(error.filename) if error.filename else ""]


def _first_line(result_fd: int, pid: int) -> bytes:
    """One line and no more: a process that the child left behind may hold the pipe open."""
    deadline = time.monotonic() + _TIMEOUT_S
    received = b""
    while b"\n" not in received:
        if not select.select([result_fd], [], [], max(deadline - time.monotonic(), 0))[0]:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), "probe")
        chunk = os.read(result_fd, 1 << 16)
        received += chunk
        if not chunk:
            raise HiveboxError("a probe was killed", f"process {pid} ended without a word", "look into `dmesg`")
    return received


def _value(line: bytes) -> Any:
    reply = json.loads(line)
    if "value" in reply:
        return reply["value"]
    cause = _os_error(*reply["os_error"]) if reply["os_error"] else None
    if cause is None or "error" in reply:
        raise HiveboxError(*reply["error"]) from cause
    raise cause


def _os_error(number: int, call: str) -> OSError:
    return OSError(number, os.strerror(number), call)


def _end(pid: int) -> None:
    """Kill and reap. The pid cannot be another process's: it is not reaped before."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
