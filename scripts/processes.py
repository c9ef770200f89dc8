"""What the benchmarks ask of /proc."""

from __future__ import annotations


def children(pid: int, wanted: str = "") -> list[int]:
    """Of a process's first thread; those with this name alone, if one is given."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        found = [int(child) for child in file.read().split()]
    return [child for child in found if not wanted or name(child) == wanted]


def name(pid: int) -> str:
    """ "" when it has ended."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def pss_bytes(pid: int) -> int:
    """The proportional set size: shared pages divided among their users."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("Pss:"))
