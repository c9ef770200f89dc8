"""One record in the form that a collector reads. Pure.

rfc5424   a syslog message, its text the statement      ecs    a line of Elastic Common Schema JSON
otlp      an OTLP/HTTP JSON request of a batch          ocsf   a line of OCSF JSON, class Process Activity
jsonl     the statement itself, a line
"""

from __future__ import annotations

import calendar
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hivebox import __version__
from hivebox.audit import history
from hivebox.units import format_duration

_FACILITY = 13  # RFC 5424, section 6.2.1: log audit
_ERROR, _WARNING, _NOTICE, _INFO = 3, 4, 5, 6
_OTLP_SEVERITY = {_ERROR: (17, "ERROR"), _WARNING: (13, "WARN"), _NOTICE: (10, "INFO2"), _INFO: (9, "INFO")}
_OCSF_SEVERITY = {_ERROR: (4, "High"), _WARNING: (3, "Medium"), _NOTICE: (2, "Low"), _INFO: (1, "Informational")}
_ECS_VERSION, _OCSF_VERSION = "8.11.0", "1.5.0"
_OCSF_CLASS, _OCSF_CATEGORY = 1007, 1  # Process Activity, System Activity
_OCSF_ACTIVITY = {"started": (1, "Launch"), "finished": (2, "Terminate"), "aborted": (2, "Terminate")}


class Fact(NamedTuple):
    """What every form says of a record."""

    entry: history.Entry
    seq: int
    event: str
    run_id: str
    utc: str
    host: str
    outcome: str
    severity: int
    text: str

    def get(self, *names: str) -> Any:
        """A field of the predicate, None where it is not."""
        value: Any = self.entry.record.predicate
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def unix_ns(self) -> int:
        """0 for a time that is none."""
        try:
            seconds = calendar.timegm(time.strptime(self.utc[:19], "%Y-%m-%dT%H:%M:%S"))
            return seconds * 1_000_000_000 + int(self.utc[20:26] or 0) * 1000
        except ValueError:
            return 0

    def uid_of_record(self) -> str:
        """The same for every delivery: collectors can drop what came twice."""
        return self.entry.sha256()


def fact_of(entry: history.Entry, host: str) -> Fact:
    """``host`` is this host's name, for records that have none."""
    record = entry.record
    result = record.predicate.get("result")
    result = result if isinstance(result, dict) else {}
    outcome = str(result.get("outcome", ""))
    severity = _INFO
    if record.event == "finished" and outcome != "ok":
        severity = (
            _WARNING
            if outcome in ("killed_by_policy", "memory", "pids", "output") or result.get("violations")
            else _NOTICE
        )
    elif record.event in ("aborted", "recovered"):
        severity = _ERROR
    wall_s = result.get("wall_s")
    took = f" after {format_duration(wall_s)}" if isinstance(wall_s, int | float) else ""
    text = f"hivebox run {record.run_id} {record.event}" + (f": {outcome}{took}" if outcome else "")
    named = record.predicate.get("host")
    name = named.get("name") if isinstance(named, dict) else None
    return Fact(
        entry, record.seq, record.event, record.run_id, record.moment.utc, str(name or host), outcome, severity, text
    )


def rfc5424(fact: Fact) -> bytes:
    """RFC 5424: header, structured data, and the statement as the message (UTF-8, without a byte order mark)."""
    data = {
        "seq": fact.seq,
        "event": fact.event,
        "run": fact.run_id,
        "outcome": fact.outcome,
        "sha256": fact.uid_of_record(),
    }
    pairs = " ".join(f'{name}="{_escaped(str(value))}"' for name, value in data.items())
    host = "".join(c for c in fact.host if 33 <= ord(c) <= 126)[:255] or "-"
    header = f"<{_FACILITY * 8 + fact.severity}>1 {fact.utc} {host} hivebox - audit [hivebox@32473 {pairs}] "
    return header.encode() + fact.entry.sealed.payload


def _escaped(text: str) -> str:
    return "".join("\\" + c if c in '"\\]' else c for c in text)


def jsonl(fact: Fact) -> bytes:
    """The statement, without its envelope."""
    return fact.entry.sealed.payload


def ecs(fact: Fact) -> bytes:
    """https://www.elastic.co/guide/en/ecs/8.11/: the fields that it names, the rest under ``hivebox``."""
    kinds = {"started": ["start"], "finished": ["end"], "aborted": ["end"]}
    argv = _texts(fact.get("request", "argv"))
    wall_s = fact.get("result", "wall_s")
    said: dict[str, Any] = {
        "@timestamp": fact.utc,
        "ecs": {"version": _ECS_VERSION},
        "message": fact.text,
        "event": {
            "kind": "event",
            "category": ["process"],
            "type": kinds.get(fact.event, ["info"]),
            "action": fact.event,
            "dataset": "hivebox.audit",
            "module": "hivebox",
            "id": fact.uid_of_record(),
            "sequence": fact.seq,
            "severity": fact.severity,
            "outcome": {"": "unknown", "ok": "success"}.get(fact.outcome, "failure"),
        },
        "host": {"name": fact.host, "hostname": fact.host},
        "observer": {"product": "hivebox", "type": "sandbox", "version": __version__},
        "process": {"entity_id": fact.run_id, "args": argv, "args_count": len(argv), "command_line": " ".join(argv)},
        "hivebox": {"run_id": fact.run_id, "profile": fact.get("request", "profile"), "outcome": fact.outcome},
    }
    if isinstance(wall_s, int | float):
        said["event"]["duration"] = int(wall_s * 1e9)
    if isinstance(code := fact.get("result", "exit_code"), int):
        said["process"]["exit_code"] = code
    if (uid := fact.get("supervisor", "uid")) is not None:
        said["user"] = {"id": str(uid)}
    return _json(said)


def ocsf(fact: Fact) -> bytes:
    """https://schema.ocsf.io/1.5.0/classes/process_activity."""
    activity, activity_name = _OCSF_ACTIVITY.get(fact.event, (99, fact.event))
    severity, severity_name = _OCSF_SEVERITY[fact.severity]
    argv = _texts(fact.get("request", "argv"))
    uid = str(fact.get("supervisor", "uid") if fact.get("supervisor", "uid") is not None else "")
    product = {"name": "hivebox", "vendor_name": "hivebox", "version": __version__}
    process = {"uid": fact.run_id, "name": argv[0] if argv else "hivebox", "cmd_line": " ".join(argv)}
    said = {
        "activity_id": activity,
        "activity_name": activity_name,
        "category_uid": _OCSF_CATEGORY,
        "category_name": "System Activity",
        "class_uid": _OCSF_CLASS,
        "class_name": "Process Activity",
        "type_uid": _OCSF_CLASS * 100 + activity,
        "time": fact.unix_ns() // 1_000_000,
        "severity_id": severity,
        "severity": severity_name,
        "status_id": {"": 0, "ok": 1}.get(fact.outcome, 2),
        "message": fact.text,
        "metadata": {"product": product, "version": _OCSF_VERSION, "uid": fact.uid_of_record(), "sequence": fact.seq},
        "device": {"type_id": 0, "type": "Unknown", "hostname": fact.host},
        "actor": {"process": {"name": "hivebox", "pid": fact.get("supervisor", "pid") or 0}, "user": {"uid": uid}},
        "process": process,
        "unmapped": {"outcome": fact.outcome, "profile": fact.get("request", "profile")},
    }
    if isinstance(code := fact.get("result", "exit_code"), int):
        said["exit_code"] = code
    return _json(said)


def otlp(facts: Sequence[Fact]) -> bytes:
    """ExportLogsServiceRequest in the JSON mapping of OTLP 1.x (opentelemetry-proto, logs/v1): 64-bit integers are
    texts."""
    host = facts[0].host if facts else ""
    resource = {
        "attributes": _attributes({"service.name": "hivebox", "service.version": __version__, "host.name": host})
    }
    records = [_otlp_record(fact) for fact in facts]
    scope = {"scope": {"name": "hivebox.audit", "version": __version__}, "logRecords": records}
    return _json({"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]})


def _otlp_record(fact: Fact) -> dict[str, Any]:
    number, name = _OTLP_SEVERITY[fact.severity]
    attributes: dict[str, str | int] = {
        "event.name": f"hivebox.{fact.event}",
        "hivebox.run_id": fact.run_id,
        "hivebox.seq": fact.seq,
        "hivebox.outcome": fact.outcome,
        "hivebox.record.sha256": fact.uid_of_record(),
    }
    return {
        "timeUnixNano": str(fact.unix_ns()),
        "observedTimeUnixNano": str(fact.unix_ns()),
        "severityNumber": number,
        "severityText": name,
        "body": {"stringValue": fact.entry.sealed.payload.decode()},
        "attributes": _attributes(attributes),
    }


def _attributes(plain: dict[str, str | int]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in plain.items()
    ]


def _texts(argv: Any) -> list[str]:
    return [word if isinstance(word, str) else json.dumps(word) for word in argv] if isinstance(argv, list) else []


def _json(plain: Any) -> bytes:
    return json.dumps(plain, separators=(",", ":"), sort_keys=True).encode()


LINES: dict[str, Callable[[Fact], bytes]] = {"rfc5424": rfc5424, "jsonl": jsonl, "ecs": ecs, "ocsf": ocsf}
