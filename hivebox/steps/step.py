"""The shape of a step."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar


class Step:
    """One control. The defaults do nothing, so that a step shows only what it has."""

    name: ClassVar[str]

    def describe(self) -> dict[str, Any]:
        """JSON-ready facts for --dry-run, ``explain`` and the audit record."""
        raise NotImplementedError

    def prepare(self) -> None:
        """In the supervisor, before the child exists."""

    def child_fds(self) -> tuple[int, ...]:
        """Descriptors that the child needs until it has applied the step; all others are closed there."""
        return ()

    def attach(self, pid: int) -> None:
        """In the supervisor, while the child waits. ``pid`` is the sandbox's init."""

    def enter(self) -> None:
        """In the process that becomes the payload, before any step is applied: the host's paths are still there."""

    def set_up(self) -> None:
        """There, with all capabilities in its user namespace."""

    def confine(self) -> None:
        """There, when the sandbox is complete: what only holds for the payload, and what cannot be taken back."""

    def release(self) -> None:
        """In the supervisor, when the sandbox is dead or was never born. Must be safe to call twice."""
