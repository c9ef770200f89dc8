"""Refused system calls: answered, named, counted, bounded."""

from __future__ import annotations

import time

from hivebox.kernel import seccomp
from hivebox.report import Violation

_EPERM, _ENOSYS = 1, 38
_MAX_DISTINCT = 100


def _is_pointer(argument: int) -> bool:
    """Anything that is neither a small number nor a negative one: the same act from another buffer is the same."""
    return 1 << 32 <= argument < (1 << 64) - 4096


class Refusals:
    """Answers every notification with an error, at once: the supervisor performs nothing on a payload's behalf. The
    ``kill_after``-th is not answered: its caller waits for the end of the run, and cannot race it."""

    def __init__(self, notify_fd: int, started: float, kill_after: int) -> None:
        self._notify_fd = notify_fd
        self._kill_after = kill_after
        self._started = started
        self._acts: dict[tuple[str, tuple[int, ...]], Violation] = {}
        self.total = 0
        self.dropped = 0

    @property
    def too_many(self) -> bool:
        """True once the run has to end; nothing is to be read any more."""
        return self.total >= self._kill_after

    def on_readable(self) -> None:
        """Answer one refused call. A number without a name is one this version does not know: ENOSYS, so that a
        newer libc falls back."""
        call = seccomp.receive(self._notify_fd)
        if call is None:
            return
        from hivebox.kernel.syscall_table import syscall_name  # noqa: PLC0415  # most scripts have no call refused

        name = syscall_name(call.number)
        self.total += 1
        self._note(name or f"syscall_{call.number}", call)
        if not self.too_many:
            seccomp.refuse(self._notify_fd, call.cookie, _EPERM if name else _ENOSYS)

    def _note(self, name: str, call: seccomp.RefusedCall) -> None:
        key = (name, tuple(argument for argument in call.arguments if not _is_pointer(argument)))
        known = self._acts.get(key)
        if known:
            self._acts[key] = known._replace(times=known.times + 1)
        elif len(self._acts) < _MAX_DISTINCT:
            first_s = round(time.monotonic() - self._started, 6)
            detail = tuple(hex(argument) for argument in call.arguments)
            self._acts[key] = Violation("syscall", name, detail, call.pid, first_s, 1)
        else:
            self.dropped += 1

    def violations(self) -> tuple[Violation, ...]:
        """What was refused, in order of first occurrence."""
        return tuple(self._acts.values())
