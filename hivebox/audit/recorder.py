"""Who keeps a run's records: this process, or another that holds the key (service/recorder.py)."""

from __future__ import annotations

from hivebox.audit.ledger import Appended, Ledger
from hivebox.locations import state_dir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Protocol

    from hivebox.waiting import Waiting
else:
    Protocol = object


class Recorder(Protocol):
    """As Ledger.append, without blocking."""

    def append(
        self, event: str, run_id: str, subjects: Sequence[tuple[str, str]], predicate: Mapping[str, Any]
    ) -> Waiting[Appended]:
        """One record, on the disk when it returns. Raises HiveboxError, and then it is not in the ledger."""


class OwnRecorder:
    """Signs and writes in this process, which must load the key after the sandbox is cloned."""

    def __init__(self) -> None:
        self._ledger = Ledger(state_dir())

    def append(
        self, event: str, run_id: str, subjects: Sequence[tuple[str, str]], predicate: Mapping[str, Any]
    ) -> Waiting[Appended]:
        """It does block: a process with one run has nothing else to do."""
        yield from ()
        return self._ledger.append(event, run_id, subjects, predicate)
