"""The ledger in pieces. ``ledger.jsonl`` is the open one; closed ones are ``segment-<first seq>.jsonl``, later
``.jsonl.gz``.

A segment is closed by renaming it, when everything in it is on the disk. The next one begins with a ``segment`` record
that has the tree of all records before, so that each segment verifies alone. ``segment-<first seq>.leaves`` are the
leaf hashes of a closed segment, 32 bytes a record: with them proofs need not read it, and they stay when it is pruned.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import re
import time
from collections.abc import Iterator
from itertools import chain, islice
from typing import IO, NamedTuple

from hivebox.audit import commit, envelope, journal, place, statement, tree
from hivebox.audit.custody import write_new
from hivebox.audit.envelope import MAX_LINE_BYTES, RuleError
from hivebox.errors import HiveboxError, from_os_error

_NAME = re.compile(r"segment-(\d{12})\.(jsonl|jsonl\.gz|leaves)")


class Segment(NamedTuple):
    """A closed segment. ``path`` is its file, "" when it was pruned; ``leaves`` its leaf hashes, "" when there are
    none."""

    first_seq: int
    path: str
    leaves: str


def closed(audit_dir: str) -> list[Segment]:
    """Oldest first. A rotation that was killed half-way leaves the open segment a second name: that is not closed."""
    files: dict[int, dict[str, str]] = {}
    for name in os.listdir(audit_dir):
        if (found := _NAME.fullmatch(name)) and not _is_open(audit_dir, name):
            files.setdefault(int(found[1]), {})[found[2]] = os.path.join(audit_dir, name)
    return [
        Segment(first, kinds.get("jsonl") or kinds.get("jsonl.gz", ""), kinds.get("leaves", ""))
        for first, kinds in sorted(files.items())
    ]


def _is_open(audit_dir: str, name: str) -> bool:
    try:
        return os.path.samefile(os.path.join(audit_dir, name), os.path.join(audit_dir, journal.NAME))
    except FileNotFoundError:
        return False


def read_lines(audit_dir: str, after_seq: int = -1, *, open_only: bool = False) -> Iterator[bytes]:
    """The lines behind record ``after_seq`` of all segments that are there, as far as the ledger was written when this
    began. Raises HiveboxError."""
    path = os.path.join(audit_dir, journal.NAME)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            # The lock is held only to look: readers never hold up a run.
            journal.lock(fd, fcntl.LOCK_SH, path, time.monotonic() + journal.LOCK_TIMEOUT_S)
            size, older = os.fstat(fd).st_size, closed(audit_dir)
            fcntl.flock(fd, fcntl.LOCK_UN)
            ends = [*(segment.first_seq for segment in older[1:]), 1 << 62]
            for segment, end in zip(older, ends, strict=False):
                if segment.path and not open_only and end > after_seq + 1:
                    yield from islice(file_lines(segment.path), max(0, after_seq + 1 - segment.first_seq), None)
            yield from _skip_to(after_seq + 1, _lines(file, size))
    except OSError as error:
        error.filename = error.filename or path
        raise from_os_error("cannot read the audit ledger", error) from error


def _skip_to(seq: int, lines: Iterator[bytes]) -> Iterator[bytes]:
    """Counted from the first record; where that is none, all of them, for the verifier to name."""
    first = next(lines, None) if seq else None
    if first is None:
        return lines
    try:
        skip = seq - statement.decode(envelope.unseal(first.removesuffix(b"\n")).payload).seq
    except RuleError:
        skip = 0
    return islice(chain([first], lines), max(0, skip), None)


def file_lines(path: str) -> Iterator[bytes]:
    """The lines of one segment, compressed or not; a damaged end of a compressed one is an error, not the end."""
    try:
        with _open(path) as file:
            yield from _lines(file, 1 << 62)
    except EOFError as error:
        raise HiveboxError("cannot read a segment", f"{path}: {error}", "take it from a backup") from error
    except OSError as error:
        error.filename = path
        raise from_os_error("cannot read the audit ledger", error) from error


def _open(path: str) -> IO[bytes] | gzip.GzipFile:
    if path.endswith(".gz"):
        return gzip.open(path)
    return open(path, "rb")


def _lines(file: IO[bytes] | gzip.GzipFile, rest: int) -> Iterator[bytes]:
    while line := file.readline(min(rest, MAX_LINE_BYTES + 1)):
        rest -= len(line)
        yield line


def last_before(audit_dir: str) -> tuple[int, str]:
    """(seq, digest) of the last record of the newest closed segment; (-1, zeros) when there is none."""
    older = closed(audit_dir)
    if not older:
        return -1, statement.FIRST_PREV
    line = b""
    for line in file_lines(older[-1].path or older[-1].leaves):  # noqa: B007
        pass
    try:
        record = statement.decode(envelope.unseal(line.removesuffix(b"\n")).payload)
    except RuleError as error:
        hint = "look with hivebox audit verify"
        raise HiveboxError("cannot go on after the last segment", f"{older[-1].path}: {error}", hint) from error
    return record.seq, hashlib.sha256(line.removesuffix(b"\n")).hexdigest()


def rotate(opened: journal.Journal, found: place.Place) -> None:
    """Close the settled ledger and put an empty one in its place. The caller opens that anew."""
    commit.sync(opened, found.end, deadline_s=0)
    first = _first_record(opened).seq
    # A hard link cannot replace a file: no segment is ever overwritten.
    name = f"segment-{first:012d}.jsonl"
    if opened.settings.append_only:
        opened.protect(on=False)  # or it could not be renamed
    if not _is_open(os.path.dirname(opened.path), name):
        os.link(journal.NAME, name, src_dir_fd=opened.dir_fd, dst_dir_fd=opened.dir_fd)
    temporary = f".new-{os.urandom(8).hex()}"
    fresh_fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=opened.dir_fd)
    try:
        place.save(opened._replace(fd=fresh_fd), found._replace(start=0, end=0))
    finally:
        os.close(fresh_fd)
    os.rename(temporary, journal.NAME, src_dir_fd=opened.dir_fd, dst_dir_fd=opened.dir_fd)
    os.fsync(opened.dir_fd)
    if opened.settings.append_only:
        opened.protect(on=True)


def tree_before(opened: journal.Journal) -> dict[str, object]:
    """What the first record of a new segment says of all before: the predicate's ``tree``. Writes the leaf hashes of
    the segment before, if nobody did."""
    audit_dir = os.path.dirname(opened.path)
    last = closed(audit_dir)[-1]
    frontier, origin = tree.Frontier(), ""
    leaves = bytearray()
    for line in file_lines(last.path):
        body = line.removesuffix(b"\n")
        if not leaves:
            origin, frontier = begin(body)
        leaves += (leaf := tree.leaf_hash(body))
        frontier.add(leaf)
    if not last.leaves:
        write_new(opened.dir_fd, f"segment-{last.first_seq:012d}.leaves", bytes(leaves), 0o600)
    hashes = [each.hex() for each in frontier.hashes]
    return {"hashes": hashes, "origin": origin, "root": frontier.root().hex(), "size": frontier.size}


def begin(first_line: bytes) -> tuple[str, tree.Frontier]:
    """(origin, tree of all records before) of a segment that begins with this line. Raises RuleError."""
    from hivebox.audit import seals  # noqa: PLC0415  # cryptography: only for who writes or checks a segment

    record = statement.decode(envelope.unseal(first_line).payload)
    if record.event == "segment":
        return seals.read_segment(record)
    return seals.origin_of(hashlib.sha256(first_line).hexdigest()), tree.Frontier()


def _first_record(opened: journal.Journal) -> statement.Record:
    line = opened.read(0, min(opened.size(), MAX_LINE_BYTES)).partition(b"\n")[0]
    return statement.decode(envelope.unseal(line).payload)
