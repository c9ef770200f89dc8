"""What the records of a ledger tell, one after another: runs that start once and end at most once, clocks that do not
go back. Pure; part of the verifier."""

from __future__ import annotations

from typing import NamedTuple

from hivebox.audit import statement

ENDS = ("finished", "aborted")
Remark = tuple[str, str, str]  # rule, expected, got


class OpenRun(NamedTuple):
    """A run without an end; whether its supervisor still lives is for the caller to find out."""

    line: int
    record: statement.Record


class Story:
    """``open`` has the runs that did not end yet. ``may_lack_starts``: older segments are elsewhere."""

    def __init__(self) -> None:
        self.open: dict[str, OpenRun] = {}
        self.started = 0
        self.may_lack_starts = False
        self._seen: set[str] = set()
        self._clocks: dict[str, tuple[int, str]] = {}

    def follow(self, record: statement.Record, line: int) -> list[Remark]:
        """The next record in place."""
        remarks: list[Remark] = []
        event, run_id = record.event, record.run_id
        if event not in statement.EVENTS[record.version]:
            remarks.append(("event", "one of " + ", ".join(statement.EVENTS[record.version]), repr(event)))
        elif event == "started":
            if run_id in self._seen:
                remarks.append(("run", f"one start of run {run_id}", "another"))
            self.started += 1
            self._seen.add(run_id)
            self.open[run_id] = OpenRun(line, record)
        elif event in ENDS:
            if self.open.pop(run_id, None) is None and (run_id in self._seen or not self.may_lack_starts):
                remarks.append(("run", f"an end after the start of run {run_id}", "an end without one"))
            self._seen.add(run_id)
        elif event == "recovered":
            remarks.append(("recovered", "no torn line", repr(record.predicate.get("dropped"))))
        return remarks + self._clock(record.moment)

    def _clock(self, moment: statement.Moment) -> list[Remark]:
        """Within one boot nothing goes back. A warning: an administrator may set UTC, an attacker gains little."""
        utc, boottime_ns, _, boot_id = moment
        before = self._clocks.get(boot_id)
        self._clocks[boot_id] = (boottime_ns, utc)
        if not before or not boot_id:
            return []
        if boottime_ns < before[0]:
            return [("clock", f"boottime_ns from {before[0]}", str(boottime_ns))]
        if utc < before[1]:
            return [("clock", f"utc from {before[1]}", utc)]
        return []
