#!/usr/bin/env python3
"""An independent verifier of docs/audit-format.md: shares no code with hivebox, needs only cryptography.

    verify_ledger.py SEGMENT... PUBLIC_KEY.pem... [--head=SEQ:SHA256] [--alone]

Prints "line rule detail" for each error (no warnings); exit code 1 when there is one. scripts/verify_tree.py does the rest.
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

TYPE = "application/vnd.in-toto+json"
VERSIONS = {"https://hivebox.dev/run/v1": {"finished"}, "https://hivebox.dev/record/v2": {"finished", "aborted"}}
STATEMENT = "https://in-toto.io/Statement/v1"
HEX, RUN_ID = re.compile(r"[0-9a-f]{64}"), re.compile(r"[A-Za-z0-9._-]{1,128}")
SPKI = bytes.fromhex("302a300506032b6570032100")


class BrokenError(Exception):
    """Arguments: the rule and what broke it."""


def need(rule, condition, detail):
    if not condition:
        raise BrokenError(rule, detail)


def canonical(value, depth=0):
    low, high = (-(2**53) + 1, 2**53) if isinstance(value, float) else (-(2**63), 2**64)
    need("", depth <= 32 and (not isinstance(value, int | float) or low <= value < high), "too deep or too large")
    if isinstance(value, dict):
        return "{" + ",".join(json.dumps(k) + ":" + canonical(value[k], depth + 1) for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(canonical(item, depth + 1) for item in value) + "]"
    return re.sub(r"(\.\d+?)0+$", r"\1", f"{value:z.9f}") if isinstance(value, float) else json.dumps(value)


def parse(rule, data):
    try:
        value = json.loads(data)
        json.dumps(value, ensure_ascii=False).encode()  # refuses lone surrogates
        need(rule, canonical(value).encode() == data, "not in canonical form")
        return value
    except (ValueError, RecursionError, BrokenError) as error:
        raise BrokenError(rule, f"not canonical JSON: {error}") from error


def fields(rule, value, **types):
    exact = isinstance(value, dict) and {name: type(item) for name, item in value.items()} == types
    need(rule, exact, f"expected exactly the fields {sorted(types)}")
    return value


def open_envelope(line):
    sealed = fields("envelope", parse("envelope", line), payload=str, payloadType=str, signatures=list)
    need("envelope", sealed["payloadType"] == TYPE and len(sealed["signatures"]) == 1, "type or signatures")
    signed = fields("envelope", sealed["signatures"][0], keyid=str, sig=str)
    texts = [sealed["payload"], signed["sig"]]
    try:
        payload, signature = map(base64.b64decode, texts)
    except ValueError as error:
        raise BrokenError("envelope", str(error)) from error
    need("envelope", [base64.b64encode(data).decode() for data in (payload, signature)] == texts, "base64")
    need("envelope", len(signature) == 64, "length of the signature")
    return payload, signed["keyid"], signature


def open_statement(payload):
    it = fields("statement", parse("statement", payload), _type=str, subject=list, predicateType=str, predicate=dict)
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


def admit(trust, keyid, signature, payload):
    """trust: keyid -> [key, the rule that further records break, last moment]. What is wrong; it is read on all the same."""
    utc = re.search(rb'"utc":"([^"]*)"}[^}]*},"predicateType"', payload)  # even of what is no statement
    key, ended, not_after = trust.get(keyid, (None, "key", ""))
    late = "expired" if not_after and utc and utc[1].decode() > not_after else ""
    wrong = [(ended or late, keyid)] if ended or late else []
    try:
        if key:
            key.verify(signature, b"DSSEv1 %d %b %d %b" % (len(TYPE), TYPE.encode(), len(payload), payload))
    except InvalidSignature:
        wrong.append(("signature", "does not verify"))
    return wrong


def follow_key(trust, said, signer):
    action = said.get("action") if isinstance(said, dict) else None
    need("keys", action in ("rotate", "revoke"), "neither rotate nor revoke")
    if action == "revoke":
        trust.get(said.get("keyid"), ["", ""])[1] = "revoked"
        return
    public = base64.b64decode(said["public"])
    need("keys", hashlib.sha256(SPKI + public).hexdigest() == said["keyid"], "not the key of its keyid")
    trust[signer][1] = "expired"
    trust[said["keyid"]] = [Ed25519PublicKey.from_public_bytes(public), "", said.get("not_after")]


def verify(lines, keys, head=None, alone=False):
    """Yields (line, rule, detail), not in order."""
    trust = {hashlib.sha256(SPKI + key.public_bytes_raw()).hexdigest(): [key, "", ""] for key in keys}
    digests, gaps, late, runs = ["0" * 64], [], set(), {}
    following = latest = base = pruned = 0  # the sequence number to come, at least and at most; the first one here
    for number, raw in enumerate(lines, 1):
        digests.append(hashlib.sha256(raw.removesuffix(b"\n")).hexdigest())
        try:
            need("line", len(raw) <= 16 << 20, "too long")
            need("torn", raw.endswith(b"\n"), "no newline")
            payload, keyid, signature = open_envelope(raw[:-1])
            wrong = admit(trust, keyid, signature, payload)
            yield from ((number, *what) for what in wrong)
            seq, prev, event, run, said, ends = open_statement(payload)
            if event == "key" and not wrong:
                follow_key(trust, said.get("key"), keyid)
        except BrokenError as error:
            yield number, *error.args
            latest += 1
            continue
        if number == 1 and event == "segment":
            following, latest, base, digests[0] = seq, seq, seq, prev
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
        pruned = said.get("first_kept_seq", 0) if event == "pruned" else pruned
        if event == "started" or event in ends:
            elsewhere = base and event != "started" and run not in runs
            if runs.get(run) != (None if event == "started" else "started") and not elsewhere:
                yield number, "run", f"{event} after {runs.get(run)}"
            runs[run] = event
    for number, missing in gaps:
        yield number, "order" if late.issuperset(missing) else "gap", f"before record {missing.stop}"
    if base > pruned and not alone:
        yield 1, "gap", f"before record {base}"
    if head:
        yield sys.maxsize, "head", ":".join(head)


if __name__ == "__main__":
    paths = [word for word in sys.argv[1:] if not word.startswith("--") and not word.endswith(".pem")]
    keys = [load_pem_public_key(open(word, "rb").read()) for word in sys.argv[1:] if word.endswith(".pem")]
    heads = [word.removeprefix("--head=").split(":") for word in sys.argv if word.startswith("--head=")] or [None]
    if not keys or not paths or set(word[:7] for word in sys.argv if word[:2] == "--") - {"--head=", "--alone"}:
        sys.exit(__doc__)
    segments = (line for path in paths for line in (gzip.open if path.endswith(".gz") else open)(path, "rb"))
    found = sorted(verify(segments, keys, heads[0], "--alone" in sys.argv))
    for where, broken, why in found:
        print(where if where < sys.maxsize else "-", broken, why)
    sys.exit(1 if found else 0)
