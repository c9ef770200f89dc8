"""make bench: cold start and steady CPU, each as a ratio to the bare thing measured right beside it.

Every sandboxed run is paired with a bare one, in turn; the ratio is the median of the pairs' ratios, so that a slow
spell of the machine hits both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time

HIVEBOX = os.path.join(os.path.dirname(sys.executable), "hivebox")
BURN = "n = 0\nfor i in range(3_000_000): n += i"
INNER = f"import time; b = time.perf_counter(); exec({BURN!r}); print(time.perf_counter() - b)"


def wall_s(argv: list[str]) -> float:
    """From before the spawn to the end of the wait."""
    before = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
    _, status = os.waitpid(pid, 0)
    if status:
        raise SystemExit(f"{argv} ended with status {status}")
    return time.perf_counter() - before


def inner_s(argv: list[str]) -> float:
    """Seconds that the payload measures itself: start-up does not count."""
    return float(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


def paired(measure, bare: list[str], boxed: list[str], runs: int) -> dict[str, float]:
    """Medians in seconds, and the ratio of pairs."""
    pairs = []
    for _ in range(runs):
        order = [("bare", bare), ("boxed", boxed)]
        random.shuffle(order)
        pairs.append({name: measure(argv) for name, argv in order})
    return {
        "bare_s": statistics.median(pair["bare"] for pair in pairs),
        "hivebox_s": statistics.median(pair["boxed"] for pair in pairs),
        "ratio": statistics.median(pair["boxed"] / pair["bare"] for pair in pairs),
        "best_ratio": min(pair["boxed"] for pair in pairs) / min(pair["bare"] for pair in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    python = os.path.realpath(sys.executable)
    wall_s([HIVEBOX, "run", "--", "true"])  # builds the root, fills the caches
    results = {
        "cold": paired(
            wall_s, [python, "-I", "-S", "-c", "pass"], [HIVEBOX, "run", "--", "true"], options.runs
        ),
        "cpu": paired(
            inner_s, [python, "-I", "-c", INNER], [HIVEBOX, "run", "--", "python3", "-I", "-c", INNER],
            options.runs,
        ),
    }  # fmt: skip
    if options.json:
        print(json.dumps(results, indent=2))
        return
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} CPUs, {options.runs} pairs")
    for name, what, line in (
        ("cold", "`hivebox run -- true` against `python3 -I -S -c pass`", 6.0),
        ("cpu", "a CPU loop inside against bare", 1.01),
    ):
        row = results[name]
        print(
            f"{what}: {row['hivebox_s'] * 1000:.1f} ms against {row['bare_s'] * 1000:.1f} ms, "
            f"ratio {row['ratio']:.3f} (best runs {row['best_ratio']:.3f}; line {line:g})"
        )


main()
