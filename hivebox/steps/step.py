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

    def enter_init(self) -> None:
        """In the sandbox's init, before any step is applied: the host's paths are still where they were."""

    def apply_init(self) -> None:
        """In the sandbox's init, with all capabilities in its own user namespace."""

    def apply_payload(self) -> None:
        """In the process that becomes the payload."""

    def release(self) -> None:
        """In the supervisor, when the sandbox is dead or was never born. Must be safe to call twice."""
