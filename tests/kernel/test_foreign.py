"""Calling C: what other threads of the interpreter do meanwhile, and what an error is."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from hivebox.kernel import foreign

PAUSE_US = 100_000


class Counter:
    """Counts whenever it gets the interpreter's lock."""

    def __init__(self) -> None:
        self.count = 0
        self.done = False

    def run(self) -> None:
        while not self.done:
            self.count += 1

    def advances(self, *, locked: bool) -> list[int]:
        """How far it gets in each of several pauses, and just before and after them."""
        found = []
        for _ in range(5):
            before = self.count
            foreign.call(foreign.load(None), "usleep", foreign.Int, PAUSE_US, locked=locked)
            found.append(self.count - before)
        return found


@pytest.fixture
def counter() -> Iterator[Counter]:
    counter = Counter()
    thread = threading.Thread(target=counter.run)
    thread.start()
    yield counter
    counter.done = True
    thread.join()


def test_other_threads_stand_still_during_a_locked_call(counter: Counter) -> None:
    """What clone(2) needs: a thread that took the lock meanwhile would hold it in the child for ever."""
    assert min(counter.advances(locked=True)) == 0


def test_other_threads_run_during_any_other_call(counter: Counter) -> None:
    assert min(counter.advances(locked=False)) > 0


def test_no_such_function_or_library() -> None:
    with pytest.raises(OSError):
        foreign.call(foreign.load(None), "no_such_function", foreign.Int)
    with pytest.raises(OSError):
        foreign.load("no-such-library.so.1")
