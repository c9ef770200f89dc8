"""Showing a checkpoint to somebody who remembers: a file elsewhere, a command, or a witness on the network.

    FILE                       the last checkpoint is kept there; the next must be of a ledger that only grew
    command:PROGRAM ARGS       gets the note on stdin, prints cosignature lines
    http(s)://...              the protocol of https://c2sp.org/tlog-witness, POST .../add-checkpoint

A witness that knows a longer ledger, or another one, is an error with that name: it is what witnesses are for.
"""

from __future__ import annotations

import base64
import os
import shlex
import subprocess
import urllib.error
import urllib.request

from hivebox.audit import note, tree
from hivebox.errors import HiveboxError, from_os_error

_TIMEOUT_S = 30
_LARGEST_ANSWER = 1 << 16
_HINT = "compare the two ledgers with hivebox audit verify --checkpoint FILE"


def show(target: str, checkpoint: note.Checkpoint, leaves: tree.Leaves, seen: int) -> tuple[note.Signature, ...]:
    """The cosignatures that ``target`` gives, not verified. ``seen`` is the size of the last checkpoint it is thought
    to have. Raises HiveboxError."""
    if target.startswith(("http://", "https://")):
        return _ask(target.rstrip("/") + "/add-checkpoint", checkpoint, leaves, seen)
    if target.startswith("command:"):
        return _run(shlex.split(target.removeprefix("command:")), checkpoint)
    _keep(target, checkpoint, leaves)
    return ()


def verified(
    signatures: tuple[note.Signature, ...], checkpoint: note.Checkpoint, witnesses: tuple[note.Verifier, ...]
) -> tuple[note.Signature, ...]:
    """Those that one of the given witnesses made. Raises HiveboxError when there is none."""
    good = tuple(
        each
        for each in signatures
        if any(note.signed_by(checkpoint._replace(signatures=(each,)), witness) is not None for witness in witnesses)
    )
    if signatures and not good:
        names = ", ".join(each.name for each in signatures)
        raise HiveboxError(
            "cannot use the witness's answer",
            f"no good signature of a known key; signed by {names}",
            "give its key with --witness-key",
        )
    return good


def _keep(path: str, checkpoint: note.Checkpoint, leaves: tree.Leaves) -> None:
    try:
        with open(path, "rb") as file:
            older = note.parse(file.read(_LARGEST_ANSWER))
    except FileNotFoundError:
        pass
    except (OSError, note.NoteError) as error:
        raise HiveboxError(f"cannot read the checkpoint kept in {path}", str(error), "name another file") from error
    else:
        compare(older, checkpoint, leaves, path)
    temporary = f"{path}.new-{os.getpid()}"
    try:
        with open(temporary, "xb") as file:
            file.write(checkpoint.note())
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except OSError as error:
        raise from_os_error("cannot keep the checkpoint", error) from error


def compare(older: note.Checkpoint, checkpoint: note.Checkpoint, leaves: tree.Leaves, where: str) -> None:
    """Raises HiveboxError unless this ledger is the other one, grown."""
    if older.origin != checkpoint.origin:
        raise HiveboxError("this is another ledger", f"{where} has a checkpoint of {older.origin}", _HINT)
    if older.size > checkpoint.size:
        why = f"{where} has seen {older.size} records, and there are {checkpoint.size}"
        raise HiveboxError("the ledger is older than its witness: it was rolled back", why, _HINT)
    if leaves.root(0, older.size) != older.root:
        why = f"the first {older.size} records are not those that {where} has seen"
        raise HiveboxError("the ledger was rewritten after it was witnessed", why, _HINT)


def _run(command: list[str], checkpoint: note.Checkpoint) -> tuple[note.Signature, ...]:
    try:
        done = subprocess.run(  # noqa: S603  # the user's own command
            command, input=checkpoint.note(), capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired, IndexError) as error:
        raise HiveboxError("cannot ask the witness", f"{' '.join(command)}: {error}") from error
    if done.returncode:
        why = f"{command[0]} ended with {done.returncode}: {done.stderr.decode(errors='replace').strip()[-200:]}"
        raise HiveboxError("the witness refused the checkpoint", why, _HINT)
    return _signatures(done.stdout)


def _ask(url: str, checkpoint: note.Checkpoint, leaves: tree.Leaves, seen: int) -> tuple[note.Signature, ...]:
    status, body = _post(url, _request(checkpoint, leaves, seen))
    if status == 409 and body.strip().isdigit():  # it has another size: once more from there
        seen = int(body)
        if seen > checkpoint.size:
            why = f"{url} has seen {seen} records, and there are {checkpoint.size}"
            raise HiveboxError("the ledger is older than its witness: it was rolled back", why, _HINT)
        status, body = _post(url, _request(checkpoint, leaves, seen))
    if status in (409, 422):
        why = f"{url}: the first {seen} records are not those that it has seen"
        raise HiveboxError("the ledger was rewritten after it was witnessed", why, _HINT)
    if status != 200:
        raise HiveboxError("the witness refused the checkpoint", f"{url}: HTTP {status} {body[:200]!r}")
    return _signatures(body)


def _request(checkpoint: note.Checkpoint, leaves: tree.Leaves, seen: int) -> bytes:
    path = leaves.consistency(seen, checkpoint.size) if 0 < seen < checkpoint.size else []
    steps = "".join(base64.b64encode(each).decode() + "\n" for each in path)
    return f"old {seen}\n{steps}\n".encode() + checkpoint.note()


def _post(url: str, body: bytes) -> tuple[int, bytes]:
    kind = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(url, body, kind)  # noqa: S310  # http(s), see show()
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            return answer.status, answer.read(_LARGEST_ANSWER)
    except urllib.error.HTTPError as error:
        return error.code, error.read(_LARGEST_ANSWER)
    except OSError as error:
        raise HiveboxError("cannot ask the witness", f"{url}: {error}") from error


def _signatures(text: bytes) -> tuple[note.Signature, ...]:
    try:
        return note.parse_signatures(text.decode())
    except (note.NoteError, UnicodeDecodeError) as error:
        raise HiveboxError("cannot use the witness's answer", str(error)) from error
