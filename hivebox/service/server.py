"""The service's process: takes jobs at its door and attends them in one loop."""

from __future__ import annotations

import gc
import os
import resource
import sys

from hivebox.kernel import process
from hivebox.kernel.bpf import CONTROL_FD
from hivebox.launch.channel import Channel
from hivebox.launch.zygote import Zygote
from hivebox.loop import READ, Loop
from hivebox.service.attendance import Attendance
from hivebox.service.recorder import RemoteRecorder

NAME = "hivebox-service"


def main(door_fd: int) -> None:
    """Serve until the caller has closed its end of the door and every run is over."""
    process.set_name(NAME)
    _make_room_for_descriptors()
    gc.collect()
    gc.freeze()  # what is there now stays: a collection need not touch its pages, which every init shares
    Server(Channel.on(door_fd)).serve()


def _make_room_for_descriptors() -> None:
    """A run holds two dozen; payloads get their own limit. The number that a payload's last message needs is taken, so
    that none of ours ever has it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.dup2(0, CONTROL_FD, inheritable=False)


class Server:
    """One loop for the door and all runs."""

    def __init__(self, door: Channel) -> None:
        self._door = door
        self._zygote = Zygote()
        self._loop = Loop()
        self._recorder = RemoteRecorder()
        self._open = True
        self._runs: set[Attendance] = set()

    def serve(self) -> None:
        """Returns when there is nothing left to do, for good."""
        self._loop.watch(self._door.fileno(), READ, self._on_door)
        while self._open or self._runs:
            self._loop.turn()
        self._recorder.close()
        self._zygote.close()

    def _on_door(self, _events: int) -> None:
        message = self._door.receive()
        if message is None:
            self._loop.forget(self._door.fileno())
            self._open = False
            return
        run = Attendance(self._loop, self._recorder, self._zygote, message, self._runs.discard)
        self._runs.add(run)
        run.start()


if __name__ == "__main__":
    main(int(sys.argv[1]))
    os._exit(0)
