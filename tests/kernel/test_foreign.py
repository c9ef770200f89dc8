"""Calling C: what other threads of the interpreter do meanwhile, and what an error is."""

from __future__ import annotations

import threading
import time

import pytest

from hivebox.kernel import foreign

PAUSE_S = 1.0


class Watch:
    """Takes the time whenever its thread gets the interpreter's lock."""

    def __init__(self) -> None:
        self.longest_gap_s = 0.0
        self.done = False

    def run(self) -> None:
        last = time.monotonic()
        while not self.done:
            now = time.monotonic()
            self.longest_gap_s = max(self.longest_gap_s, now - last)
            last = now


def longest_gap_s() -> float:
    """In which another thread did not run, around a locked call that pauses."""
    watch = Watch()
    thread = threading.Thread(target=watch.run)
    thread.start()
    foreign.call(foreign.load(None), "usleep", foreign.Int, int(PAUSE_S * 1e6), locked=True)
    watch.done = True
    thread.join()
    return watch.longest_gap_s


def test_other_threads_stand_still_during_a_locked_call() -> None:
    """What clone(2) needs: a thread that took the lock meanwhile would hold it in the child for ever."""
    assert longest_gap_s() >= PAUSE_S * 0.99


def test_no_such_function_or_library() -> None:
    with pytest.raises(OSError):
        foreign.call(foreign.load(None), "no_such_function", foreign.Int)
    with pytest.raises(OSError):
        foreign.load("no-such-library.so.1")
