#!/usr/bin/env python3
"""An independent verifier of the tree, checkpoints and proofs of docs/audit-format.md: no code of hivebox, only
cryptography.

    verify_tree.py PUBLIC_KEY.pem... --checkpoint=FILE... SEGMENT...    (records: scripts/verify_ledger.py)
    verify_tree.py PUBLIC_KEY.pem... --proof=FILE

Give all segments from the first record on. Prints "what detail" for each error; exit code 1 when there is one, 2 when
a file cannot be used.
"""

import base64
import gzip
import hashlib
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_public_key


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def root_of(leaves):
    """RFC 6962, section 2.1."""
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1", root_of(leaves[:split]), root_of(leaves[split:]))


def root_by_path(leaf, index, size, path):
    """The audit path of RFC 6962, section 2.1.1, from the root down: the reverse of how it was made."""
    if size == 1:
        return leaf if not path else None
    split = 1 << (size - 1).bit_length() - 1
    if not path:
        return None
    if index < split:
        return sha256(b"\1", root_by_path(leaf, index, split, path[:-1]) or b"", path[-1])
    return sha256(b"\1", path[-1], root_by_path(leaf, index - split, size - split, path[:-1]) or b"")


def read_checkpoint(text, keys):
    """https://c2sp.org/signed-note: (origin, size, root); raises ValueError unless one of the keys signed it."""
    body, _, signatures = text.rpartition("\n\n")
    origin, size, root = body.split("\n")[:3]
    for line in signatures.splitlines():
        raw = base64.b64decode(line.split(" ")[2])
        for key in keys:
            if raw[:4] == sha256(origin.encode(), b"\n\1", key.public_bytes_raw())[:4]:
                try:
                    key.verify(raw[4:], (body + "\n").encode())
                    return origin, int(size), base64.b64decode(root)
                except InvalidSignature:
                    continue
    raise ValueError("no good signature of a given key")


def check_ledger(lines, checkpoints, keys):
    lines = [line.removesuffix(b"\n") for line in lines]
    leaves = [sha256(b"\0", line) for line in lines]
    for text in checkpoints:
        try:
            origin, size, root = read_checkpoint(text, keys)
        except ValueError as error:
            yield "checkpoint", str(error)
            continue
        if not lines or origin == "hivebox.dev/audit/" + sha256(lines[0]).hex()[:32]:
            if size > len(lines):
                yield "rollback", f"{len(lines)} records, {size} were seen"
            elif root_of(leaves[:size]) != root:
                yield "rewritten", f"the first {size} records"
        else:
            yield "checkpoint", f"of another ledger: {origin}"


def check_proof(proof, keys):
    try:
        yield from check_records(proof["records"], *read_checkpoint(proof["checkpoint"], keys)[1:], keys)
    except (LookupError, TypeError, AttributeError) as error:
        yield "proof", f"not in its form: {type(error).__name__} {error}"
    except ValueError as error:
        yield "checkpoint", str(error)


def check_records(records, size, root, keys):
    if not records:
        yield "proof", "has no record: it proves nothing"
    for item in records:
        line, path = item["line"].encode(), [bytes.fromhex(text) for text in item["path"]]
        envelope = json.loads(line)
        payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
        if json.loads(payload)["predicate"]["ledger"]["seq"] != item["index"]:
            yield "proof", f"record {item['index']} says that it is another"
        if root_by_path(sha256(b"\0", line), item["index"], size, path) != root:
            yield "proof", f"record {item['index']} is not in the tree of {size}"
        signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
        if not any(verifies(key, base64.b64decode(envelope["signatures"][0]["sig"]), signed) for key in keys):
            yield "signature", f"record {item['index']}"


def verifies(key, signature, message):
    try:
        key.verify(signature, message)
        return True
    except InvalidSignature:
        return False


def main(words):
    trusted = [load_pem_public_key(open(word, "rb").read()) for word in words if word.endswith(".pem")]
    notes = [open(word[13:], encoding="utf-8").read() for word in words if word.startswith("--checkpoint=")]
    proofs = [word[8:] for word in words if word.startswith("--proof=")]
    paths = [word for word in words if not word.startswith("--") and not word.endswith(".pem")]
    if not trusted or not (proofs or (notes and paths)):
        sys.exit(__doc__)
    records = (line for path in paths for line in (gzip.open if path.endswith(".gz") else open)(path, "rb"))
    broken = list(check_proof(json.load(open(proofs[0])), trusted) if proofs else check_ledger(records, notes, trusted))
    for what, detail in broken:
        print(what, detail)
    return 1 if broken else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, EOFError, ValueError) as error:
        print(f"cannot use what was given: {error}", file=sys.stderr)
        sys.exit(2)
