"""A caller that sits at a terminal: a process whose controlling terminal is what this one has as descriptor 0."""

from __future__ import annotations

import fcntl
import os
import pickle
import signal
import termios
import traceback
from collections.abc import Callable
from typing import Any


def run(act: Callable[[], Any]) -> Any:
    """``act()``, in a fork that leads a session of its own on the terminal. Raises what it raised."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            answer = (True, act())
        except BaseException:  # noqa: BLE001  # a fork of pytest must not return into it
            answer = (False, traceback.format_exc())
        os.write(write_fd, pickle.dumps(answer))
        os._exit(0)
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as reader:
        done, answer = pickle.loads(reader.read())
    os.waitpid(pid, 0)
    assert done, answer
    return answer
