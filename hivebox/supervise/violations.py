"""Refused system calls: answered, named, counted, bounded."""

from __future__ import annotations

import time

from hivebox.kernel import seccomp
from hivebox.report import Violation

_EPERM, _ENOSYS = 1, 38
_ACTS_OF_A_CALL = 10


def _is_pointer(argument: int) -> bool:
    """Anything that is neither a small number nor a negative one: the same act from another buffer is the same."""
    return 1 << 32 <= argument < (1 << 64) - 4096


class Refusals:
    """Answers every notification with an error, at once: the supervisor performs nothing on a payload's behalf. The
    ``kill_after``-th is not answered: its caller waits for the end of the run, and cannot race it.

    Every call that was refused is named, each with its first acts, so that many of one kind cannot bury another. Calls
    without a name count as one kind.
    """

    def __init__(self, notify_fd: int, started: float, kill_after: int) -> None:
        self._notify_fd = notify_fd
        self._kill_after = kill_after
        self._started = started
        self._acts: dict[str, dict[tuple[str, tuple[int, ...]], Violation]] = {}
        self.total = 0
        self.dropped = 0

    @property
    def too_many(self) -> bool:
        """True once the run has to end; nothing is to be read any more."""
        return self.total >= self._kill_after

    def on_readable(self) -> None:
        """Answer one refused call. A number without a name is one this version does not know: ENOSYS, so that a
        newer libc falls back. A call whose caller was killed meanwhile has no name, but counts."""
        call = seccomp.receive(self._notify_fd)
        self.total += 1
        if call is None:
            self.dropped += 1
            return
        from hivebox.kernel.syscall_table import syscall_name  # noqa: PLC0415  # most scripts have no call refused

        name = syscall_name(call.number)
        self._note(name, call)
        if not self.too_many:
            seccomp.refuse(self._notify_fd, call.cookie, _EPERM if name else _ENOSYS)

    def _note(self, name: str, call: seccomp.RefusedCall) -> None:
        from hivebox.policy.syscall_arguments import argument_count  # noqa: PLC0415  # as above

        shown = name or f"syscall_{call.number}"
        arguments = call.arguments[: argument_count(name)]
        key = (shown, tuple(argument for argument in arguments if not _is_pointer(argument)))
        acts = self._acts.setdefault(name, {})
        known = acts.get(key)
        if known:
            acts[key] = known._replace(times=known.times + 1)
        elif len(acts) < _ACTS_OF_A_CALL:
            first_s = round(time.monotonic() - self._started, 6)
            detail = tuple(hex(argument) for argument in arguments)
            acts[key] = Violation("syscall", shown, detail, call.pid, first_s, 1)
        else:
            self.dropped += 1

    def violations(self) -> tuple[Violation, ...]:
        """What was refused, in order of first occurrence."""
        found = (violation for acts in self._acts.values() for violation in acts.values())
        return tuple(sorted(found, key=lambda violation: violation.first_s))
