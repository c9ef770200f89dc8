#!/usr/bin/env python3
"""An independent verifier of docs/audit-format.md: shares no code with hivebox, needs only cryptography.

    verify_ledger.py SEGMENT... PUBLIC_KEY.pem... [--head=SEQ:SHA256] [--alone]
Prints "line rule detail" for each error (no warnings); exit code 1 if there is one, 2 for unusable files.
The tree: scripts/verify_tree.py.
"""

import base64
import gzip
import hashlib
import json
import re
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

TYPE, STATEMENT = "application/vnd.in-toto+json", "https://in-toto.io/Statement/v1"
VERSIONS = {"https://hivebox.dev/run/v1": {"finished"}, "https://hivebox.dev/record/v2": {"finished", "aborted"}}
HEX, RUN_ID = re.compile(r"[0-9a-f]{64}"), re.compile(r"[A-Za-z0-9._-]{1,128}")


def need(rule, condition, detail):
    if not condition:
        raise ValueError(rule, detail)


def canonical(value, depth=0):
    low, high = (-(2**53) + 1, 2**53) if isinstance(value, float) else (-(2**63), 2**64)
    if depth > 32 or (isinstance(value, int | float) and not low <= value < high):
        raise ValueError("too deep, or a number out of range")
    if isinstance(value, dict):
        return "{" + ",".join(json.dumps(k) + ":" + canonical(value[k], depth + 1) for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(canonical(item, depth + 1) for item in value) + "]"
    return re.sub(r"(\.\d+?)0+$", r"\1", f"{value:z.9f}") if isinstance(value, float) else json.dumps(value)


def fields(rule, value, **types):
    if isinstance(value, bytes):
        text, value = value, json.loads(value)
        json.dumps(value, ensure_ascii=False).encode()  # refuses lone surrogates
        need(rule, canonical(value).encode() == text, "not in canonical form")
    exact = isinstance(value, dict) and {name: type(item) for name, item in value.items()} == types
    need(rule, exact, f"expected exactly the fields {sorted(types)}")
    return value


def open_envelope(line):
    sealed = fields("envelope", line, payload=str, payloadType=str, signatures=list)
    need("envelope", sealed["payloadType"] == TYPE and len(sealed["signatures"]) == 1, "type or signatures")
    signed = fields("envelope", sealed["signatures"][0], keyid=str, sig=str)
    payload, signature = map(base64.b64decode, (sealed["payload"], signed["sig"]))
    again = [base64.b64encode(data).decode() for data in (payload, signature)]
    need("envelope", again == [sealed["payload"], signed["sig"]] and len(signature) == 64, "base64")
    return payload, signed["keyid"], signature


def open_statement(payload):
    it = fields("statement", payload, _type=str, subject=list, predicateType=str, predicate=dict)
    need("statement", it["_type"] == STATEMENT and it["predicateType"] in VERSIONS, "of another type")
    for item in it["subject"]:
        digest = fields("statement", fields("statement", item, digest=dict, name=str)["digest"], sha256=str)
        need("statement", HEX.fullmatch(digest["sha256"]), "a subject's digest")
    said = {name: it["predicate"].get(name) for name in ("event", "run_id", "ledger", "time")}
    fields("predicate", said, event=str, run_id=str, ledger=dict, time=dict)
    fields("predicate", said["time"], boot_id=str, boottime_ns=int, monotonic_ns=int, utc=str)
    seq, prev = (fields("predicate", said["ledger"], prev=str, seq=int)[name] for name in ("seq", "prev"))
    need("predicate", seq >= 0 and HEX.fullmatch(prev) and RUN_ID.fullmatch(said["run_id"]), "values")
    return seq, prev, said["event"], said["run_id"], it["predicate"], VERSIONS[it["predicateType"]]


def keyid_of(key):
    return hashlib.sha256(bytes.fromhex("302a300506032b6570032100") + key.public_bytes_raw()).hexdigest()


def judge(trust, keyid, signature, payload):
    key, ended, not_after = trust.get(keyid, (None, "key", ""))
    utc = re.search(rb'"utc":"([^"]*)"}[^}]*},"predicateType"', payload)  # even in what is no statement
    if ended or (not_after and utc and utc[1].decode() > not_after):
        yield ended or "expired", keyid
    try:
        key and key.verify(signature, b"DSSEv1 %d %b %d %b" % (len(TYPE), TYPE.encode(), len(payload), payload))
    except InvalidSignature:
        yield "signature", "does not verify"


def verify(lines, keys, head=None, alone=False):
    """Yields (line, rule, detail), not in order."""
    trust = {keyid_of(key): [key, "", ""] for key in keys}  # the key, the rule it breaks from now on, its last moment
    digests, gaps, late, runs = ["0" * 64], [], set(), {}
    following = latest = base = pruned = 0  # the sequence number to come, at least and at most; the first one here
    for number, raw in enumerate(lines, 1):
        digests.append(hashlib.sha256(raw.removesuffix(b"\n")).hexdigest())
        rule = "envelope"
        try:
            need("torn" if len(raw) <= 16 << 20 else "line", raw.endswith(b"\n") and len(raw) <= 16 << 20, len(raw))
            payload, keyid, signature = open_envelope(raw[:-1])
            wrong = [(number, *what) for what in judge(trust, keyid, signature, payload)]
            yield from wrong
            rule = "statement"
            seq, prev, event, run, said, ends = open_statement(payload)
            if event == "key" and not wrong:
                change, rule = said.get("key"), "keys"
                action = change.get("action") if isinstance(change, dict) else None
                need("keys", action in ("rotate", "revoke"), "neither rotate nor revoke")
                if action == "rotate":
                    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(change["public"]))
                    need("keys", keyid_of(key) == change["keyid"], "not the key of its keyid")
                    trust[keyid][1], trust[change["keyid"]] = "expired", [key, "", change.get("not_after")]
                else:
                    trust.get(change.get("keyid"), ["", ""])[1] = "revoked"
        except (ValueError, RecursionError) as error:
            yield number, *(error.args if len(error.args) == 2 else (rule, str(error)))
            latest += 1
            continue
        if number == 1 and event == "segment":
            following, latest, base, digests[0] = seq, seq, seq, prev
        if seq < following:
            late, earlier = late | {seq}, digests.index(digests[number])
            rule = "order" if earlier == number else "duplicate" if earlier == number - 1 else "replay"
            yield number, rule, f"record {seq} where {following} belongs"
            continue
        if seq > latest:
            gaps.append((number, range(latest, seq)))
        elif prev != digests[number - 1]:
            yield number, "prev", f"{prev} is not {digests[number - 1]}"
        following = latest = seq + 1
        head = None if head == [str(seq), digests[number]] else head
        pruned = said.get("first_kept_seq", 0) if event == "pruned" else pruned
        if event == "started" or event in ends:
            before, runs[run] = runs.get(run, "started" if base and event in ends else None), event
            if before != (None if event == "started" else "started"):
                yield number, "run", f"{event} after {before}"
    for number, missing in [*gaps, *([(1, range(base))] if base > pruned and not alone else [])]:
        yield number, "order" if late.issuperset(missing) else "gap", f"before record {missing.stop}"
    yield from [(sys.maxsize, "head", ":".join(head))] if head else []


if __name__ == "__main__":
    paths = [word for word in sys.argv[1:] if not word.startswith("--") and not word.endswith(".pem")]
    try:
        trusted = [load_pem_public_key(open(word, "rb").read()) for word in sys.argv[1:] if word.endswith(".pem")]
        segments = (line for path in paths for line in (gzip.open if path.endswith(".gz") else open)(path, "rb"))
        known = next((word[7:].split(":") for word in sys.argv if word.startswith("--head=")), None)
        found = sorted(verify(segments, trusted, known, "--alone" in sys.argv))
    except (OSError, EOFError, ValueError) as unusable:
        sys.exit(print("cannot use what was given:", unusable, file=sys.stderr) or 2)
    for where, broken, why in found:
        print(where if where < sys.maxsize else "-", broken, why)
    sys.exit(bool(found) if paths else __doc__)
