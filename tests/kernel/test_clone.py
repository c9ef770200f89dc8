"""clone(2) is called with the interpreter's lock held: a thread that took it during the call would hold it in the child
for ever, where that thread does not exist."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from hivebox.kernel import foreign, process


class Counter:
    """Counts whenever it gets the lock."""

    def __init__(self) -> None:
        self.count = 0
        self.done = False

    def run(self) -> None:
        while not self.done:
            self.count += 1

    def least_advance(self, act: Callable[[], None]) -> int:
        """Of many times, since the lock may also change hands just before or after the call."""

        def around() -> int:
            before = self.count
            act()
            return self.count - before

        return min(around() for _ in range(20))


@pytest.fixture
def counter() -> Iterator[Counter]:
    counter = Counter()
    thread = threading.Thread(target=counter.run)
    thread.start()
    yield counter
    counter.done = True
    thread.join()


def clone_and_kill() -> None:
    pid = process.clone(0)
    if pid == 0:
        os._exit(0)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, os.WNOHANG)


def reap() -> None:
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def test_other_threads_run_during_a_call(counter: Counter) -> None:
    assert counter.least_advance(lambda: foreign.call(foreign.load(None), "usleep", foreign.Int, 2000)) > 0


def test_other_threads_stand_still_during_clone(counter: Counter) -> None:
    assert counter.least_advance(clone_and_kill) == 0
    reap()
