"""What one record says: an in-toto Statement v1 (https://in-toto.io/Statement/v1) with hivebox's run predicate."""

from __future__ import annotations

import os
import time

from hivebox.audit import canonical
from hivebox.audit.envelope import RuleError, require_fields
from hivebox.frozen import Frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
# An identifier, compared byte for byte and never fetched. A change of meaning gets a new number.
PREDICATE_TYPES = {1: "https://hivebox.dev/run/v1", 2: "https://hivebox.dev/record/v2"}
VERSION = 2  # what is written; version 1 is read for ever
FIRST_PREV = "0" * 64
EVENTS = {
    1: ("started", "finished", "recovered"),
    2: ("started", "finished", "aborted", "recovered", "key", "segment", "pruned"),
}
RESERVED = ("event", "ledger", "run_id", "time")

_VERSIONS = {name: version for version, name in PREDICATE_TYPES.items()}
_HEX = frozenset("0123456789abcdef")
_RUN_ID = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
_RUN_ID_CHARACTERS = 128
_SHA256_CHARACTERS = 64


class Moment(Frozen):
    """One instant on three clocks. ``utc`` can be set by hand and jumps; ``boottime_ns`` and ``monotonic_ns`` only
    grow, but mean something only within one ``boot_id`` (empty where /proc does not tell it)."""

    utc: str
    boottime_ns: int
    monotonic_ns: int
    boot_id: str


class Draft(Frozen):
    """A statement but for its place and its time: all that can be checked and encoded before it is its turn."""

    event: str
    run_id: str
    subjects: tuple[tuple[str, str], ...]
    predicate: Mapping[str, Any]
    pieces: list[str]
    version: int = VERSION

    def at(self, seq: int, prev: str, moment: Moment) -> tuple[Record, bytes]:
        """The statement there and then, and the payload to sign. Raises NotCanonicalError for a clock that tells no
        time."""
        before, between, after = self.pieces
        link = f'{{"prev":"{prev}","seq":{seq}}}'.encode("ascii")
        time_text = canonical.encode(moment._asdict())
        payload = b"".join((before.encode("ascii"), link, between.encode("ascii"), time_text, after.encode("ascii")))
        record = Record(seq, prev, self.event, self.run_id, moment, self.subjects, dict(self.predicate), self.version)
        return record, payload


class Record(Frozen):
    """One statement that has the right shape. ``predicate`` is all of it, the ledger's own fields included."""

    seq: int
    prev: str
    event: str
    run_id: str
    moment: Moment
    subjects: tuple[tuple[str, str], ...]
    predicate: dict[str, Any]
    version: int = VERSION


def now(boot: str | None = None) -> Moment:
    """The clocks of this host; ``boot`` is its ``boot_id``, asked for if it is not given."""
    wall_ns = time.time_ns()
    seconds, nanoseconds = divmod(wall_ns, 1_000_000_000)
    utc = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds // 1000:06d}Z"
    return Moment(
        utc, time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.monotonic_ns(), boot_id() if boot is None else boot
    )


def boot_id() -> str:
    """Names this boot of this host (proc(5), /proc/sys/kernel/random/boot_id)."""
    try:
        fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        return os.read(fd, 64).decode("ascii").strip()
    finally:
        os.close(fd)


def draft(
    event: str,
    run_id: str,
    subjects: Sequence[tuple[str, str]],
    predicate: Mapping[str, Any],
    version: int = VERSION,
) -> Draft:
    """Raises NotCanonicalError for content that JSON cannot carry, RuleError for a bad shape."""
    if event not in EVENTS[version]:
        raise RuleError("event", "one of " + ", ".join(EVENTS[version]), repr(event))
    check_content(run_id, subjects, predicate)
    own = {"event": event, "ledger": canonical.Hole(), "run_id": run_id, "time": canonical.Hole()}
    statement = {
        "_type": STATEMENT_TYPE,
        "predicate": {**predicate, **own},
        "predicateType": PREDICATE_TYPES[version],
        "subject": [{"digest": {"sha256": digest}, "name": _readable(name)} for name, digest in subjects],
    }
    return Draft(event, run_id, tuple(subjects), predicate, canonical.pieces(statement), version)


def encode(record: Record) -> bytes:
    """The payload of a whole record. Raises as ``draft``."""
    predicate = {name: value for name, value in record.predicate.items() if name not in RESERVED}
    drawn = draft(record.event, record.run_id, record.subjects, predicate, record.version)
    return drawn.at(record.seq, record.prev, record.moment)[1]


def decode(payload: bytes) -> Record:
    """The inverse of ``encode``. Raises RuleError."""
    try:
        statement = canonical.decode(payload)
    except canonical.NotCanonicalError as error:
        raise RuleError("statement", "canonical JSON", str(error)) from error
    return check(statement)


def check_content(run_id: str, subjects: Sequence[tuple[str, str]], predicate: Mapping[str, Any]) -> None:
    """What a caller hands to the ledger. Raises RuleError."""
    if taken := [name for name in RESERVED if name in predicate]:
        raise RuleError("predicate", "no field that the ledger itself writes", ", ".join(taken))
    if not 0 < len(run_id) <= _RUN_ID_CHARACTERS or not _RUN_ID.issuperset(run_id):
        raise RuleError("predicate", f"run_id of 1 to {_RUN_ID_CHARACTERS} letters, digits, - _ .", repr(run_id))
    for name, digest in subjects:
        if not is_sha256(digest):
            raise RuleError("statement", f"64 hex digits for subject {name!r}", repr(digest))


def is_sha256(text: object) -> bool:
    """64 lower-case hex digits."""
    return isinstance(text, str) and len(text) == _SHA256_CHARACTERS and _HEX.issuperset(text)


def _readable(name: str) -> str:
    """in-toto wants a text here; undecodable bytes show as ``\\udcXX``. The digest identifies, not the name."""
    return name.encode(errors="backslashreplace").decode()


def check(statement: Any) -> Record:
    """A parsed statement as a record. Raises RuleError."""
    outer = {"_type": str, "predicate": dict, "predicateType": str, "subject": list}
    fields = require_fields("statement", statement, outer)
    if fields["_type"] != STATEMENT_TYPE:
        raise RuleError("statement", f"_type {STATEMENT_TYPE}", repr(fields["_type"]))
    version = _VERSIONS.get(fields["predicateType"])
    if version is None:
        raise RuleError("statement", "predicateType " + " or ".join(_VERSIONS), repr(fields["predicateType"]))
    predicate = fields["predicate"]
    for name in RESERVED:
        if name not in predicate:
            raise RuleError("predicate", f"the field {name}", "none")
    link = require_fields("predicate", predicate["ledger"], {"prev": str, "seq": int})
    if link["seq"] < 0 or not is_sha256(link["prev"]):
        raise RuleError("predicate", "ledger with seq from 0 and prev of 64 hex digits", repr(link))
    clocks = {"boot_id": str, "boottime_ns": int, "monotonic_ns": int, "utc": str}
    moment = Moment(**require_fields("predicate", predicate["time"], clocks))
    subjects = tuple(_check_subject(item) for item in fields["subject"])
    own = {"event": str, "run_id": str}
    named = require_fields("predicate", {name: predicate[name] for name in own}, own)
    check_content(named["run_id"], subjects, {})
    return Record(link["seq"], link["prev"], named["event"], named["run_id"], moment, subjects, predicate, version)


def _check_subject(item: Any) -> tuple[str, str]:
    subject = require_fields("statement", item, {"digest": dict, "name": str})
    return subject["name"], require_fields("statement", subject["digest"], {"sha256": str})["sha256"]
