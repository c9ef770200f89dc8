#!/usr/bin/env python3
"""Writes the golden ledger of format version 1 and its tampered copies beside this file, always the same bytes.

The golden files are kept for ever: a later format adds files, it never changes these. Each tampered copy is named for
what was done to it; expected.json has the findings that a verifier must report, as [line, rule].
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2]))

from hivebox.audit import envelope, keys, statement  # noqa: E402

OWNER = keys.signer_from_seed(hashlib.sha256(b"hivebox test vectors: owner").digest())
STRANGER = keys.signer_from_seed(hashlib.sha256(b"hivebox test vectors: stranger").digest())
BOOT = "11111111-2222-3333-4444-555555555555"
SCRIPT = hashlib.sha256(b"print('hello')\n").hexdigest()


class Vector(NamedTuple):
    """``errors`` break the ledger; ``remarks`` are warnings and notices. ``head`` is given to the verifier."""

    lines: list[bytes]
    errors: list[tuple[int, str]]
    remarks: list[tuple[int, str]]
    head: str = ""


def moment(second: int, boottime_ns: int | None = None) -> statement.Moment:
    ticks = 1_000_000_000 * (5_000 + second) if boottime_ns is None else boottime_ns
    return statement.Moment(f"2026-01-31T23:{second // 60:02d}:{second % 60:02d}.000000Z", ticks, ticks - 7, BOOT)


def seal(payload: bytes, signer: keys.Signer = OWNER) -> bytes:
    return envelope.seal(payload, signer.keyid, signer.sign(envelope.pae(payload))) + b"\n"


def digest(line: bytes) -> str:
    return hashlib.sha256(line.removesuffix(b"\n")).hexdigest()


def record(before: list[bytes], event: str, run_id: str, content: dict[str, Any], when: statement.Moment) -> bytes:
    prev = digest(before[-1]) if before else statement.FIRST_PREV
    subjects = (("script", SCRIPT), ("name with \udcff byte", "ab" * 32))
    return statement.encode(statement.Record(len(before), prev, event, run_id, when, subjects, content, version=1))


def golden() -> list[bytes]:
    lines: list[bytes] = []
    request = {"request": {"argv": ["python3", "h\u00e9.py", "\udcff", "tab\t"], "profile": "default"}}
    result = {"outcome": "ok", "exit_code": 0, "wall_s": 0.25, "cpu_user_s": 1e-9, "memory_peak_bytes": 2**63}
    for event, run_id, content in (
        ("started", "run-a", request),
        ("started", "run-b", request),
        ("finished", "run-a", {"result": result}),
        ("recovered", "recovered-1", {"dropped": {"bytes": 7, "kept_as": "torn-x", "sha256": "cd" * 32}}),
        (
            "finished",
            "run-b",
            {"result": {**result, "outcome": "timeout", "wall_s": 3.0, "arguments": [2**64 - 1, -1]}},
        ),
        ("started", "run-c", request),
        ("finished", "run-c", {"result": {**result, "outcome": "failed", "exit_code": 1}}),
        ("started", "run-d", request),
    ):
        lines.append(seal(record(lines, event, run_id, content, moment(len(lines)))))
    return lines


GOLDEN = golden()
USUAL = [(4, "recovered"), (8, "incomplete")]


def payload_of(line: bytes) -> bytes:
    return envelope.unseal(line.removesuffix(b"\n")).payload


def changed(index: int, change: Callable[[bytes], bytes]) -> list[bytes]:
    """The golden ledger with one line changed."""
    return [*GOLDEN[:index], change(GOLDEN[index]), *GOLDEN[index + 1 :]]


def edited_payload(line: bytes) -> bytes:
    sealed = envelope.unseal(line.removesuffix(b"\n"))
    payload = sealed.payload.replace(b'"exit_code":0', b'"exit_code":1')
    assert payload != sealed.payload
    return envelope.seal(payload, sealed.keyid, sealed.signature) + b"\n"


def edited_signature(line: bytes) -> bytes:
    sealed = envelope.unseal(line.removesuffix(b"\n"))
    return envelope.seal(sealed.payload, sealed.keyid, bytes([sealed.signature[0] ^ 1]) + sealed.signature[1:]) + b"\n"


def resigned(old: bytes, new: bytes, signer: keys.Signer = OWNER) -> Callable[[bytes], bytes]:
    """What a thief of the key does: another payload, rightly signed."""

    def change(line: bytes) -> bytes:
        payload = payload_of(line).replace(old, new)
        assert payload != payload_of(line) or old == new
        return seal(payload, signer)

    return change


def in_envelope(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def apply(line: bytes) -> bytes:
        outer = json.loads(line)
        change(outer)
        return json.dumps(outer, sort_keys=True, separators=(",", ":")).encode() + b"\n"

    return apply


def spare_bits(outer: dict[str, Any]) -> None:
    text = outer["signatures"][0]["sig"]  # 64 bytes end in one character of which 4 bits are spare
    other = text[:-3] + chr(ord(text[-3]) + 1) + "=="
    assert base64.b64decode(other) == base64.b64decode(text)
    outer["signatures"][0]["sig"] = other


def extended(event: str, run_id: str, when: statement.Moment | None = None) -> list[bytes]:
    """The golden ledger and one more record, rightly chained and signed."""
    return [*GOLDEN, seal(record(GOLDEN, event, run_id, {}, when or moment(len(GOLDEN))))]


def unknown_event() -> list[bytes]:
    payload = record(GOLDEN, "started", "run-e", {}, moment(8)).replace(b'"event":"started"', b'"event":"exploded"')
    return [*GOLDEN, seal(payload)]


def rewritten_tail() -> list[bytes]:
    """The last two records replaced by others with the owner's key."""
    lines = GOLDEN[:6]
    for event, run_id in (("finished", "run-c"), ("started", "run-e")):
        lines = [*lines, seal(record(lines, event, run_id, {}, moment(len(lines))))]
    return lines


def head(index: int) -> str:
    return f"{index}:{digest(GOLDEN[index])}"


def vectors() -> dict[str, Vector]:
    g, bad_2, bad_envelope = GOLDEN, [(3, "signature"), (4, "prev")], [(3, "envelope"), (4, "prev")]
    # A third line that cannot be read leaves run-a open.
    unread = [(1, "incomplete"), *USUAL]
    return {
        "golden": Vector(g, [], USUAL),
        "golden-with-head": Vector(g, [], USUAL, head(7)),
        "golden-with-older-head": Vector(g, [], USUAL, head(2)),
        "empty": Vector([], [], []),
        "edited-payload": Vector(changed(2, edited_payload), bad_2, USUAL),
        "edited-signature": Vector(changed(2, edited_signature), bad_2, USUAL),
        "edited-last-signature": Vector(changed(7, edited_signature), [(8, "signature")], USUAL),
        "resigned-with-stolen-key": Vector(
            changed(2, resigned(b'"exit_code":0', b'"exit_code":1')), [(4, "prev")], USUAL
        ),
        "resigned-with-other-key": Vector(
            changed(2, resigned(b"", b"", STRANGER)), [(3, "key"), (4, "prev")], USUAL
        ),
        "deleted-first": Vector(g[1:], [(1, "gap"), (2, "run")], [(3, "recovered"), (7, "incomplete")]),
        "deleted-middle": Vector(g[:2] + g[3:], [(3, "gap")], [(1, "incomplete"), (3, "recovered"), (7, "incomplete")]),
        "deleted-two": Vector(g[:5] + g[7:], [(6, "gap")], [(4, "recovered"), (6, "incomplete")]),
        "truncated": Vector(g[:7], [(0, "head")], [(4, "recovered")], head(7)),
        "truncated-to-nothing": Vector([], [(0, "head")], [], head(7)),
        "rewritten-tail": Vector(rewritten_tail(), [(0, "head")], [(4, "recovered"), (8, "incomplete")], head(7)),
        "swapped": Vector(
            [*g[:4], g[5], g[4], *g[6:]],
            [(5, "order"), (6, "order"), (7, "prev")],
            [(2, "incomplete"), (4, "recovered"), (8, "incomplete")],
        ),
        "duplicated": Vector([*g[:3], g[2], *g[3:]], [(4, "duplicate")], [(5, "recovered"), (9, "incomplete")]),
        "replayed": Vector([*g, g[2]], [(9, "replay")], USUAL),
        "record-of-another-ledger": Vector(
            [*g, seal(record([], "started", "run-x", {}, moment(9)))], [(9, "order")], USUAL
        ),
        "torn-newline": Vector([*g[:7], g[7][:-1]], [(8, "torn")], [(4, "recovered")]),
        "torn-half": Vector([*g[:7], g[7][:100]], [(8, "torn")], [(4, "recovered")]),
        "blank-line": Vector([*g[:2], b"\n", *g[2:]], [(3, "envelope"), (4, "prev")], [(5, "recovered"), (9, "incomplete")]),
        "crlf": Vector(changed(2, lambda line: line[:-1] + b"\r\n"), bad_envelope, unread),
        "byte-order-mark": Vector(changed(0, lambda line: b"\xef\xbb\xbf" + line), [(1, "envelope"), (2, "prev"), (3, "run")], USUAL),
        "spare-blank": Vector(changed(2, lambda line: line.replace(b":", b": ", 1)), bad_envelope, unread),
        "extra-field": Vector(changed(2, in_envelope(lambda outer: outer.update(note=""))), bad_envelope, unread),
        "second-signature": Vector(
            changed(2, in_envelope(lambda outer: outer["signatures"].append(outer["signatures"][0]))),
            bad_envelope,
            unread,
        ),
        "no-signature": Vector(
            changed(2, in_envelope(lambda outer: outer["signatures"].clear())), bad_envelope, unread
        ),
        "spare-bits": Vector(changed(2, in_envelope(spare_bits)), bad_envelope, unread),
        "other-payload-type": Vector(
            changed(2, in_envelope(lambda outer: outer.update(payloadType="text/plain"))), bad_envelope, unread
        ),
        "duplicate-key": Vector(
            changed(2, lambda line: line.replace(b'{"payload":', b'{"payload":"","payload":', 1)), bad_envelope, unread
        ),
        "deep-nesting": Vector(changed(2, lambda _: b"[" * 100_000 + b"\n"), bad_envelope, unread),
        "long-integer": Vector(changed(2, lambda _: b"9" * 5_000 + b"\n"), bad_envelope, unread),
        "respelled-number": Vector(changed(7, resigned(b'"boottime_ns":5007000000000', b'"boottime_ns":5007e9')), [(8, "statement")], USUAL[:1]),
        "not-a-number": Vector(changed(7, resigned(b'"boottime_ns":5007000000000', b'"boottime_ns":NaN')), [(8, "statement")], USUAL[:1]),
        "lone-surrogate": Vector(changed(7, resigned(b"run-d", b"\\udcff")), [(8, "statement")], USUAL[:1]),
        "other-predicate-type": Vector(changed(7, resigned(b"run/v1", b"run/v2")), [(8, "statement")], USUAL[:1]),
        "short-digest": Vector(changed(7, resigned(SCRIPT.encode(), b"abc")), [(8, "statement")], USUAL[:1]),
        "no-run-id": Vector(changed(7, resigned(b'"run_id":"run-d",', b"")), [(8, "predicate")], USUAL[:1]),
        "strange-run-id": Vector(changed(7, resigned(b"run-d", b"run d")), [(8, "predicate")], USUAL[:1]),
        "negative-seq": Vector(changed(7, resigned(b'"seq":7', b'"seq":-7')), [(8, "predicate")], USUAL[:1]),
        "started-twice": Vector(extended("started", "run-a"), [(9, "run")], [*USUAL, (9, "incomplete")]),
        "finished-twice": Vector(extended("finished", "run-a"), [(9, "run")], USUAL),
        "finished-without-start": Vector(extended("finished", "run-z"), [(9, "run")], USUAL),
        "unknown-event": Vector(unknown_event(), [], [*USUAL, (9, "event")]),
        "clock-set-back": Vector(extended("finished", "run-d", moment(1, 6 * 10**12)), [], [(4, "recovered"), (9, "clock")]),
        "boottime-back": Vector(extended("finished", "run-d", moment(9, 1)), [], [(4, "recovered"), (9, "clock")]),
    }  # fmt: skip


def main() -> None:
    expected: dict[str, dict[str, Any]] = {}
    for name, vector in vectors().items():
        (HERE / f"{name}.jsonl").write_bytes(b"".join(vector.lines))
        expected[name] = {"errors": vector.errors, "head": vector.head, "remarks": vector.remarks}
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
    (HERE / "owner.pub.pem").write_bytes(keys.public_to_pem(OWNER.public))


if __name__ == "__main__":
    main()
