"""What is done to closed segments: compression, and removal under a stated policy. Verification goes on as before."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import os
import time
from typing import Any

from hivebox.audit import checkpoints, keys, ledger, opening, segments, settings
from hivebox.audit.custody import open_private_dir
from hivebox.errors import HiveboxError, from_os_error
from hivebox.kernel import inode_flags

_BLOCK_BYTES = 1 << 20
_DAY_S = 86400


def compress(state_dir: str) -> list[str]:
    """gzip each closed segment; the paths that were made. A segment is removed when its copy is on the disk and reads
    back as the same."""
    audit_dir = os.path.join(state_dir, "audit")
    dir_fd = open_private_dir(state_dir, "audit")
    made = []
    try:
        for segment in segments.closed(audit_dir):
            if segment.path.endswith(".jsonl"):
                made.append(_compress(segment.path))
                os.fsync(dir_fd)
                _remove(segment.path)
    except OSError as error:
        raise from_os_error("cannot compress a segment", error) from error
    finally:
        os.close(dir_fd)
    return made


def _compress(path: str) -> str:
    temporary, target = f"{path}.gz.new", f"{path}.gz"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as raw, open(path, "rb") as source:
        with gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
            while block := source.read(_BLOCK_BYTES):
                packed.write(block)
        raw.flush()
        os.fsync(raw.fileno())
    if digest_of(temporary, packed=True) != digest_of(path):
        raise HiveboxError("cannot compress a segment", f"{temporary} does not read back as {path}", "look at the disk")
    os.rename(temporary, target)
    return target


def digest_of(path: str, *, packed: bool | None = None) -> str:
    """SHA-256 of a segment's content, compressed or not."""
    digest = hashlib.sha256()
    with gzip.open(path) if packed or path.endswith(".gz") else open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def prune(state_dir: str, keep_days: int, now_s: float) -> list[dict[str, Any]]:
    """Remove closed segments whose last record is older, oldest first, never the newest closed one. What is removed
    under which policy is a signed record before anything is; the leaf hashes stay. Returns what the record says of
    each."""
    audit_dir = os.path.join(state_dir, "audit")
    limit = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_s - keep_days * _DAY_S))
    found = segments.closed(audit_dir)
    old: list[tuple[str, dict[str, Any]]] = []
    kept = 0
    for segment, following in itertools.pairwise(found):
        said = _describe(segment, following.first_seq) if segment.path else None
        if said and said["last_utc"] >= limit:
            break
        kept = following.first_seq
        if said:
            old.append((segment.path, said))
    if not old:
        return []
    checkpoints.make(state_dir, keys.load_signer(state_dir))  # whoever keeps it can still check what was removed
    policy = settings.Settings(keep_days=keep_days)._asdict()
    removed = [said for _, said in old]
    content = {"first_kept_seq": kept, "policy": {"keep_days": policy["keep_days"]}, "segments": removed}
    subjects = [(f"segment-{said['first_seq']:012d}", said["sha256"]) for said in removed]
    ledger.Ledger(state_dir).append("pruned", "pruned-" + os.urandom(8).hex(), subjects, content)
    for path, _ in old:
        _remove(path)
    return removed


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except PermissionError:  # chattr +a
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            inode_flags.set_append_only(fd, on=False)
        finally:
            os.close(fd)
        os.unlink(path)


def _describe(segment: segments.Segment, end_seq: int) -> dict[str, Any]:
    last = b""
    for last in segments.file_lines(segment.path):  # noqa: B007
        pass
    record = opening.decode(opening.unseal(last.removesuffix(b"\n")).payload)
    if record.seq != end_seq - 1 or not segment.leaves:
        why = f"{segment.path} ends with record {record.seq}, or has no leaf hashes"
        raise HiveboxError("cannot prune the ledger", why, "look with hivebox audit verify")
    return {
        "first_seq": segment.first_seq,
        "last_seq": record.seq,
        "last_utc": record.moment.utc,
        "sha256": digest_of(segment.path),
        "leaves_sha256": digest_of(segment.leaves),
    }
