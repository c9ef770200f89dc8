"""make bench-audit: appends, group commit, verification and listing of the ledger, each beside what bounds it.

    bench_audit.py [--dir DIR] [--records N] [--million]

DIR is where the ledger is made, on the disk to be measured (default: a new directory in /var/tmp). --million
makes a ledger of a million records (4 GB, minutes) to list and verify; without it the same is measured on N records.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from hivebox.audit import (
    checkpoints,
    envelope,
    keys,
    note,
    seals,
    segments,
    settings,
    statement,
    supervisor,
    tree,
    verify,
)
from hivebox.audit.ledger import Ledger, draft

HIVEBOX = os.path.join(os.path.dirname(sys.executable), "hivebox")
# As large as those of `hivebox run -- true`: 3.7 kB and 1.9 kB a line.
CONTROLS = {
    f"control-{number}": {"enforced": True, "rules": [["/usr", "0xd"], ["/etc", "0xd"]], "text": "x" * 40}
    for number in range(16)
}
RESULT = {
    "outcome": "ok",
    "exit_code": 0,
    "wall_s": 0.018217,
    "cpu_user_s": 0.005008996,
    "memory_peak_bytes": 1044480,
    "violations": [],
}
SUBJECTS = [("policy", "ab" * 32), ("script:x.py", "cd" * 32), ("seccomp", "ef" * 32)]
WRITER = """
import sys
sys.path.insert(0, sys.argv[4])
import bench_audit
bench_audit.write(sys.argv[1], sys.argv[2], int(sys.argv[3]))
"""


def contents(name: str, count: int):
    """(event, run_id, predicate) of ``count`` records."""
    started = {
        "controls": CONTROLS,
        "request": {"argv": ["true"], "profile": "default"},
        "supervisor": supervisor.identify(),
    }
    finished = {"result": RESULT, "enforced": dict.fromkeys(CONTROLS, True), "files": []}
    for number in range(count):
        yield (
            ("started", f"{name}-{number // 2}", started)
            if number % 2 == 0
            else ("finished", f"{name}-{number // 2}", finished)
        )


def write(state: str, name: str, count: int) -> None:
    """``count`` appends once everybody is ready; prints when they began and ended, and the CPU time they took."""
    ledger = Ledger(state, lock_timeout_s=60)
    ledger.prepare()
    print("ready", flush=True)
    sys.stdin.read()
    began, cpu_s = time.monotonic(), time.process_time()
    for event, run_id, predicate in contents(name, count):
        ledger.append(event, run_id, SUBJECTS, predicate)
    print(began, time.monotonic(), time.process_time() - cpu_s)


def append_beside_fsync(folder: str, count: int = 300) -> None:
    """What an append costs beyond the write and the fdatasync that it must do; one of each in turn."""
    state, ledger = os.path.join(folder, "alone"), Ledger(os.path.join(folder, "alone"))
    ledger.prepare()
    settings.save(state, settings.Settings(checkpoint_every=0))
    fd = os.open(os.path.join(folder, "bare"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    extra, bare = [], []
    for event, run_id, predicate in contents("alone", count):
        before = time.perf_counter()
        os.write(fd, b"x" * 3000)
        os.fdatasync(fd)
        middle = time.perf_counter()
        ledger.append(event, run_id, SUBJECTS, predicate)
        bare.append(middle - before)
        extra.append(time.perf_counter() - middle - (middle - before))
    os.close(fd)
    beyond, floor = statistics.median(extra) * 1000, statistics.median(bare) * 1000
    print(f"append: {beyond:.2f} ms beyond write and fdatasync ({floor:.2f} ms); line 1")


def group_commit(folder: str, writers: int, each: int) -> None:
    """From the first append's begin to the last one's acknowledgement, without starting and ending interpreters."""
    state = os.path.join(folder, f"group-{writers}")
    settings.save(state, settings.Settings(checkpoint_every=0))
    here = os.path.dirname(os.path.abspath(__file__))
    command = [sys.executable, "-c", WRITER, state]
    with contextlib.ExitStack() as stack:
        started = []
        for number in range(writers):
            words = [*command, f"w{number}", str(each), here]
            writer = stack.enter_context(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            stack.callback(writer.kill)  # before it is waited for, when this is interrupted
            started.append(writer)
        for writer in started:
            writer.stdout.readline()
        for writer in started:
            writer.stdin.close()
        said = [[float(word) for word in writer.stdout.read().split()] for writer in started]
    took_s = max(ended for _, ended, _ in said) - min(began for began, _, _ in said)
    count, cpu_ms = writers * each, sum(cpu for *_, cpu in said) * 1000
    what = f"{count / took_s:.0f} durable appends/s by {writers} processes"
    print(f"group commit: {what}, {cpu_ms / count:.2f} ms of CPU time each; line 2000")


def group_in_one(folder: str, count: int = 3200, at_once: int = 32) -> None:
    """As the service's recorder does it: whatever waits is written together."""
    state = os.path.join(folder, "group-in-one")
    settings.save(state, settings.Settings(checkpoint_every=0))
    ledger, waiting = Ledger(state), [(*each[:2], SUBJECTS, each[2]) for each in contents("one", count)]
    ledger.prepare()
    began = time.perf_counter()
    for first in range(0, count, at_once):
        ledger.append_all([draft(*each) for each in waiting[first : first + at_once]])
    rate = count / (time.perf_counter() - began)
    print(f"group commit: {rate:.0f} durable appends/s by one process, {at_once} at a time; line 2000")


def make_ledger(state: str, count: int) -> None:
    """The same bytes that appending gives, without an fsync for each; a checkpoint every 1000 records, the default."""
    signer, frontier, origin = keys.load_signer(state), tree.Frontier(), ""
    os.makedirs(os.path.join(state, "audit"), mode=0o700, exist_ok=True)
    prev, moment = statement.FIRST_PREV, statement.now()
    with open(os.path.join(state, "audit", "ledger.jsonl"), "xb", opener=lambda p, f: os.open(p, f, 0o600)) as file:
        for seq, (event, run_id, predicate) in enumerate(contents("r", count)):
            record = statement.Record(seq, prev, event, run_id, moment, tuple(SUBJECTS), predicate)
            payload = statement.encode(record)
            line = envelope.seal(payload, signer.keyid, signer.sign(envelope.pae(payload)))
            prev = hashlib.sha256(line).hexdigest()
            file.write(line + b"\n")
            origin = origin or seals.origin_of(prev)
            frontier.add(tree.leaf_hash(line))
            if (seq + 1) % 1000 == 0 or seq + 1 == count:
                root = frontier.root()
                checkpoints.keep(state, note.make(origin, seq + 1, root, signer.public, signer.sign))


def verify_rate(state: str, *, every_signature: bool) -> None:
    gc.disable()
    notes = tuple(checkpoints.load(state))
    verifier = verify.Verifier(
        keys.public_keys(state), verify.Evidence(checkpoints=notes, every_signature=every_signature)
    )
    before = time.process_time()
    for number, line in enumerate(segments.read_lines(os.path.join(state, "audit"))):
        verifier.feed(line)
        if every_signature and number == 20_000:
            break
    rate = (number + 1) / (time.process_time() - before)
    assert every_signature or verifier.finish().good
    what = "every signature" if every_signature else "by checkpoints"
    print(f"verify, {what}: {rate:.0f} records/s of CPU time on one core" + ("" if every_signature else "; line 20000"))


def list_last(state: str, count: int) -> None:
    environment = {**os.environ, "HIVEBOX_STATE": state}
    took = {}
    for name, words in (("list -n 20", ["audit", "list", "-n", "20"]), ("--help", ["audit", "--help"])):
        times = []
        for _ in range(9):
            before = time.perf_counter()
            subprocess.run([HIVEBOX, *words], env=environment, stdout=subprocess.DEVNULL, check=True)
            times.append(time.perf_counter() - before)
        took[name] = statistics.median(times) * 1000
    extra = took["list -n 20"] - took["--help"]
    print(f"audit list -n 20 of {count} records: {took['list -n 20']:.0f} ms (line 100), {extra:.0f} more than --help")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", default="/var/tmp", help="default: %(default)s, which stays over a reboot")
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--million", action="store_true")
    options = parser.parse_args()
    count = 1_000_000 if options.million else options.records
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # through the finally
    folder = tempfile.mkdtemp(prefix="hivebox-bench-", dir=os.path.abspath(options.dir))
    try:
        append_beside_fsync(folder)
        for writers in (8, 32):
            group_commit(folder, writers, 1600 // writers)
        group_in_one(folder)
        state = os.path.join(folder, "ledger")
        make_ledger(state, count)
        verify_rate(state, every_signature=False)
        verify_rate(state, every_signature=True)
        list_last(state, count)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
