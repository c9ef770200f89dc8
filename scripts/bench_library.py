"""make bench, second part: `hivebox.run` from Python, beside bubblewrap where that is installed, and many runs at once.

Runs come in rounds, one of each kind in random order, after a warm-up; a ratio is the median of the rounds' ratios.
bubblewrap gets namespaces and mounts alone: no filter, no control group, no record.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable

from processes import children, pss_bytes

import hivebox

MOUNTS = "--ro-bind / / --proc /proc --dev /dev --tmpfs /tmp"
BWRAP = ["bwrap", "--unshare-all", "--die-with-parent", *MOUNTS.split(), "true"]
WARM_UP = 3
LINES = {"bwrap": 1.0}
MEMORY_LINE_MIB = 3


def spawn(argv: list[str]) -> Callable[[], None]:
    """Started and waited for as subprocess.run does it, streams kept."""

    def run() -> None:
        subprocess.run(argv, check=True, capture_output=True, stdin=subprocess.DEVNULL)

    return run


def boxed() -> None:
    report = hivebox.run(["true"], profile="shell")
    if report.outcome != "ok":
        raise SystemExit(f"a run ended as {report.outcome}")


def kinds() -> dict[str, Callable[[], None]]:
    found = {"hivebox.run": boxed, "bare": spawn(["true"])}
    if shutil.which("bwrap"):
        found["bwrap"] = spawn(BWRAP)
    return found


def in_rounds(rounds: int) -> dict[str, list[float]]:
    """Kind -> seconds of each round."""
    runs = kinds()
    for run in [*runs.values()] * WARM_UP:
        run()
    took: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name in random.sample(list(runs), len(runs)):
            before = time.perf_counter()
            runs[name]()
            took[name].append(time.perf_counter() - before)
    return took


def show_rounds(took: dict[str, list[float]]) -> None:
    ours = took["hivebox.run"]
    for name, theirs in took.items():
        ordered = sorted(theirs)
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        line = f" (line {LINES[name]:g})" if name in LINES else ""
        times = "" if theirs is ours else f"; hivebox.run takes {ratio:.2f} times as long{line}"
        print(
            f"true by {name}: median {statistics.median(theirs) * 1000:.1f} ms, p95 "
            f"{ordered[int(len(ordered) * 0.95)] * 1000:.1f}{times}"
        )


def throughput(threads: int, each: int) -> None:
    def several() -> None:
        for _ in range(each):
            boxed()

    before = time.perf_counter()
    workers = [threading.Thread(target=several) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(f"hivebox.run(['true']) by {threads} threads: {threads * each / (time.perf_counter() - before):.0f} runs/s")


def at_once(count: int, seconds: int) -> None:
    """So many sleepers: what became of them, and what hivebox keeps for each beside the program itself."""
    outcomes: Counter[str] = Counter()

    def sleep() -> None:
        try:
            outcomes[hivebox.run(["sleep", str(seconds)], profile="shell", timeout_s=600).outcome] += 1
        except hivebox.HiveboxError as error:
            outcomes[error.what] += 1

    before = attendants_pss()
    sleepers = [threading.Thread(target=sleep) for _ in range(count)]
    started = time.perf_counter()
    for sleeper in sleepers:
        sleeper.start()
    inits = wait_for_inits(count, seconds)
    up_s = time.perf_counter() - started
    kept = (sum(map(pss_bytes, inits)) + attendants_pss() - before) / (count << 20)
    for sleeper in sleepers:
        sleeper.join()
    print(
        f"{count} at once: {dict(outcomes)}, all up after {up_s:.1f} s; hivebox keeps {kept:.2f} MiB for each "
        f"(PSS; line {MEMORY_LINE_MIB})"
    )


def wait_for_inits(count: int, seconds: int) -> list[int]:
    """Those whose program runs. Raises when they are not all up before the first has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        (service,) = children(os.getpid(), "hivebox-service")
        inits = [init for init in children(service, "hivebox-init") if children(init, "sleep")]
        if len(inits) == count:
            return inits
        time.sleep(0.1)
    raise SystemExit(f"{len(inits)} of {count} were up after {seconds} s: use longer --seconds")


def attendants_pss() -> int:
    (service,) = children(os.getpid(), "hivebox-service")
    helpers = [*children(service, "hivebox-record"), *children(service, "hivebox-zygote")]
    return sum(map(pss_bytes, [service, *helpers]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--at-once", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=30, help="that each of them sleeps")
    options = parser.parse_args()
    show_rounds(in_rounds(options.rounds))
    for threads in (2, 8):
        throughput(threads, 100 // threads)
    at_once(options.at_once, options.seconds)


main()
