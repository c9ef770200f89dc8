"""make bench: cold start and steady CPU, each as a ratio to the bare thing measured right beside it, and memory.

Sandboxed and bare runs come in pairs, in random order, after a warm-up of both. The verdict is the median of the pairs'
ratios: a slow spell of the machine hits both sides of a pair. Beside it: the ratio that 95 % of the pairs stay below,
the ratio of the fastest runs (what the code costs when nothing disturbs it), and the ratio of the median CPU seconds,
which other load on the machine changes least.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time

from processes import children, pss_bytes

HIVEBOX = os.path.join(os.path.dirname(sys.executable), "hivebox")
BURN = "n = 0\nfor i in range(3_000_000): n += i"
INNER = (
    f"import time; b = time.perf_counter(), time.process_time(); exec({BURN!r}); "
    "print(time.perf_counter() - b[0], time.process_time() - b[1])"
)
WARM_UP = 3
# PYTHONDONTWRITEBYTECODE and its like would be measured, and only on one side: the bare interpreter runs with -I.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
LINES = (
    ("cold", "`hivebox run -- true` against `python3 -I -S -c pass`", 6.0),
    ("cpu", "a steady CPU loop inside against bare", 1.01),
)


def start_up(argv: list[str]) -> tuple[float, float]:
    """(wall, CPU) seconds from before the spawn to the end of the wait; the CPU time of all its waited-for children."""
    before = time.perf_counter()
    null = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    pid = os.posix_spawn(argv[0], argv, ENVIRONMENT, file_actions=null)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"{argv} ended with status {status}")
    return time.perf_counter() - before, usage.ru_utime + usage.ru_stime


def inside(argv: list[str]) -> tuple[float, float]:
    """(wall, CPU) seconds that the payload measures itself: start-up does not count."""
    printed = subprocess.run(argv, check=True, capture_output=True, text=True, env=ENVIRONMENT).stdout
    wall_s, cpu_s = map(float, printed.split())
    return wall_s, cpu_s


def in_pairs(measure, bare: list[str], boxed: list[str], pairs: int) -> dict[str, float]:
    """Seconds and ratios."""
    for _ in range(WARM_UP):
        measure(boxed), measure(bare)
    runs: dict[str, list[tuple[float, float]]] = {"bare": [], "boxed": []}
    for _ in range(pairs):
        for name, argv in random.sample([("bare", bare), ("boxed", boxed)], 2):
            runs[name].append(measure(argv))
    return summary(runs["bare"], runs["boxed"])


def summary(bare: list[tuple[float, float]], boxed: list[tuple[float, float]]) -> dict[str, float]:
    """Of (wall, CPU) seconds in the order of the pairs."""
    ratios = sorted(inner[0] / outer[0] for inner, outer in zip(boxed, bare, strict=True))
    return {
        "pairs": len(ratios),
        "bare_s": statistics.median(wall for wall, _ in bare),
        "hivebox_s": statistics.median(wall for wall, _ in boxed),
        "ratio": statistics.median(ratios),
        "p95_ratio": ratios[min(len(ratios) - 1, round(len(ratios) * 0.95))],
        "best_ratio": min(boxed)[0] / min(bare)[0],
        "cpu_ratio": statistics.median(cpu for _, cpu in boxed) / statistics.median(cpu for _, cpu in bare),
    }


def measure_all(cold_pairs: int, cpu_pairs: int) -> dict[str, dict[str, float]]:
    python = os.path.realpath(sys.executable)
    run = [HIVEBOX, "run", "--"]
    return {
        "cold": in_pairs(start_up, [python, "-I", "-S", "-c", "pass"], [*run, "true"], cold_pairs),
        "cpu": in_pairs(inside, [python, "-I", "-c", INNER], [*run, "python3", "-I", "-c", INNER], cpu_pairs),
    }


def memory_bytes(count: int = 20) -> dict[str, float]:
    """What hivebox keeps in memory for each of ``count`` runs at once: the proportional set size (shared pages divided
    among their users) of supervisor and init; the program itself is not counted."""
    runs = [subprocess.Popen([HIVEBOX, "run", "-q", "--", "sleep", "120"]) for _ in range(count)]
    try:
        inits = [wait_for_init(run.pid) for run in runs]
        return {
            "supervisor_bytes": statistics.mean(pss_bytes(run.pid) for run in runs),
            "init_bytes": statistics.mean(map(pss_bytes, inits)),
        }
    finally:
        for run in runs:
            run.terminate()
        for run in runs:
            run.wait()


def wait_for_init(pid: int) -> int:
    """The init of a run whose program has started: it is not hivebox's any more."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for init in children(pid):
            if children(init, "sleep"):
                return init
        time.sleep(0.05)
    raise SystemExit(f"the sandbox of process {pid} did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100, help="of cold starts; a quarter as many CPU loops")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    package = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "hivebox")
    compileall.compile_dir(package, quiet=1)  # as an installation does
    results = measure_all(options.pairs, max(options.pairs // 4, 1))
    results["memory"] = memory_bytes()
    if options.json:
        print(json.dumps(results, indent=2))
        return
    print(
        f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]}"
    )
    for name, what, line in LINES:
        row = results[name]
        print(
            f"{what}: {row['ratio']:.2f} times (line {line:g}); p95 {row['p95_ratio']:.2f}, best "
            f"{row['best_ratio']:.2f}, CPU {row['cpu_ratio']:.2f}; {row['hivebox_s'] * 1000:.1f} ms against "
            f"{row['bare_s'] * 1000:.1f} ms, {row['pairs']} pairs"
        )
    kept = results["memory"]
    print(
        f"memory that hivebox keeps for each of 20 runs at once (PSS): {sum(kept.values()) / (1 << 20):.1f} MiB "
        f"(supervisor {kept['supervisor_bytes'] / (1 << 20):.1f}, init {kept['init_bytes'] / (1 << 20):.1f}; line 3)"
    )


main()
