#!/usr/bin/env python3
"""An independent verifier of docs/audit-format.md: shares no code with hivebox, needs only cryptography.

    verify_ledger.py LEDGER PUBLIC_KEY.pem [--head SEQ:SHA256]

Prints "line rule detail" for each error (no warnings); exit code 1 when there is one.
"""

import base64
import hashlib
import json
import re
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

TYPE = "application/vnd.in-toto+json"
HEX, RUN_ID = re.compile(r"[0-9a-f]{64}"), re.compile(r"[A-Za-z0-9._-]{1,128}")


class BrokenError(Exception):
    """Arguments: the rule and what broke it."""


def need(rule, condition, detail):
    if not condition:
        raise BrokenError(rule, detail)


def canonical(value, depth=0):
    low, high = (-(2**53) + 1, 2**53) if isinstance(value, float) else (-(2**63), 2**64)
    if depth > 32 or (isinstance(value, int | float) and not low <= value < high):
        raise ValueError("nested too deep, or a number out of range")
    if isinstance(value, dict):
        return "{" + ",".join(json.dumps(k) + ":" + canonical(value[k], depth + 1) for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(canonical(item, depth + 1) for item in value) + "]"
    if isinstance(value, float):
        return re.sub(r"(\.\d+?)0+$", r"\1", f"{value:z.9f}")  # z: no -0.0
    return json.dumps(value)


def parse(rule, data):
    try:
        value = json.loads(data)
        json.dumps(value, ensure_ascii=False).encode()  # refuses lone surrogates
        need(rule, canonical(value).encode() == data, "not in canonical form")
    except (ValueError, RecursionError) as error:
        raise BrokenError(rule, f"not canonical JSON: {error}") from error
    return value


def unbase64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise BrokenError("envelope", str(error)) from error
    need("envelope", base64.b64encode(data).decode() == text, "base64 with spare bits")
    return data


def fields(rule, value, **types):
    exact = isinstance(value, dict) and {name: type(item) for name, item in value.items()} == types
    need(rule, exact, f"expected exactly the fields {sorted(types)}")
    return value


def open_envelope(key, keyid, line):
    """The payload, and an error or None: a record with a bad signature is still read."""
    sealed = fields("envelope", parse("envelope", line), payload=str, payloadType=str, signatures=list)
    need("envelope", sealed["payloadType"] == TYPE and len(sealed["signatures"]) == 1, "type or signatures")
    signed = fields("envelope", sealed["signatures"][0], keyid=str, sig=str)
    signature, payload = unbase64(signed["sig"]), unbase64(sealed["payload"])
    need("envelope", len(signature) == 64, "length of the signature")
    if signed["keyid"] != keyid:
        return payload, ("key", signed["keyid"])
    try:
        key.verify(signature, b"DSSEv1 %d %b %d %b" % (len(TYPE), TYPE.encode(), len(payload), payload))
    except InvalidSignature:
        return payload, ("signature", "does not verify")
    return payload, None


def open_statement(payload):
    statement = parse("statement", payload)
    fields("statement", statement, _type=str, subject=list, predicateType=str, predicate=dict)
    types = (statement["_type"], statement["predicateType"])
    need("statement", types == ("https://in-toto.io/Statement/v1", "https://hivebox.dev/run/v1"), types)
    for item in statement["subject"]:
        digest = fields("statement", fields("statement", item, digest=dict, name=str)["digest"], sha256=str)
        need("statement", HEX.fullmatch(digest["sha256"]), "a subject's digest")
    said = {name: statement["predicate"].get(name) for name in ("event", "run_id", "ledger", "time")}
    fields("predicate", said, event=str, run_id=str, ledger=dict, time=dict)
    seq, prev = (fields("predicate", said["ledger"], prev=str, seq=int)[name] for name in ("seq", "prev"))
    fields("predicate", said["time"], boot_id=str, boottime_ns=int, monotonic_ns=int, utc=str)
    need("predicate", seq >= 0 and HEX.fullmatch(prev) and RUN_ID.fullmatch(said["run_id"]), "values")
    return seq, prev, said["event"], said["run_id"]


def verify(lines, key, head):
    """Yields (line, rule, detail), not in order."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    keyid, digests, gaps, late, runs = hashlib.sha256(der).hexdigest(), ["0" * 64], [], set(), {}
    following = latest = 0  # the sequence number to come, at least and at most
    for number, raw in enumerate(lines, 1):
        digests.append(hashlib.sha256(raw.removesuffix(b"\n")).hexdigest())
        try:
            need("line", len(raw) <= 16 << 20, "too long")
            need("torn", raw.endswith(b"\n"), "no newline")
            payload, error = open_envelope(key, keyid, raw[:-1])
            if error:
                yield number, *error
            seq, prev, event, run = open_statement(payload)
        except BrokenError as error:
            yield number, *error.args
            latest += 1
            continue
        if seq < following:
            late.add(seq)
            earlier = digests.index(digests[number])
            rule = "order" if earlier == number else "duplicate" if earlier == number - 1 else "replay"
            yield number, rule, f"record {seq} where {following} belongs"
            continue
        if seq > latest:
            gaps.append((number, range(latest, seq)))
        elif prev != digests[number - 1]:
            yield number, "prev", f"{prev} is not {digests[number - 1]}"
        following = latest = seq + 1
        head = None if head == [str(seq), digests[number]] else head
        if event in ("started", "finished"):
            if runs.get(run) != (None if event == "started" else "started"):
                yield number, "run", f"{event} after {runs.get(run)}"
            runs[run] = event
    for number, missing in gaps:
        yield number, "order" if late.issuperset(missing) else "gap", f"before record {missing.stop}"
    if head:
        yield sys.maxsize, "head", ":".join(head)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 5) or sys.argv[3:4] not in ([], ["--head"]):
        sys.exit(__doc__)
    with open(sys.argv[1], "rb") as ledger, open(sys.argv[2], "rb") as pem:
        known = sys.argv[4].split(":") if sys.argv[4:] else None
        found = sorted(verify(ledger, load_pem_public_key(pem.read()), known))
    for where, broken, why in found:
        print(where if where < sys.maxsize else "-", broken, why)
    sys.exit(1 if found else 0)
