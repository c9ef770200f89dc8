"""docs/attacks.md's tables, from the attacks themselves: ``python -m tests.attacks.table --write``."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.attacks.corpus import Attack, attacks
from tests.attacks.mutate import CONTROLS

DOCUMENT = Path(__file__).parents[2] / "docs" / "attacks.md"
_START, _END = "<!-- generated: python -m tests.attacks.table --write -->", "<!-- end -->"


def _section(attack: Attack, title: str) -> str:
    """The text after ``title:`` in the docstring, up to the next section."""
    text = attack.doc.split(f"{title}:", 1)[1]
    for end in ("Source:", "Stopped by:"):
        text = text.split(f"\n{end}", 1)[0]
    return " ".join(text.split())


def _event(attack: Attack) -> str:
    expect = attack.declared
    parts = [f"`{expect['outcome']}`"]
    if "outcome" in expect["as_user"]:
        parts.append(f"for an ordinary user `{expect['as_user']['outcome']}`")
    if "outcome" in expect["polled"]:
        parts.append(f"without control groups `{expect['polled']['outcome']}`")
    if expect["cause"]:
        parts.append(f"cause `{expect['cause']}`")
    if expect["violations"]:
        parts.append(f"violation `{expect['violations']}`")
    if expect["collect"]:
        parts.append("left out: " + "; ".join(sorted({reason for reason in expect["collect"].values() if reason})))
    return ", ".join(parts)


def attack_table() -> str:
    """One row for each attack."""
    rows = ["| attack | what it tries | source | stopped by | event |", "|---|---|---|---|---|"]
    for attack in attacks():
        summary = " ".join(attack.doc.split("\n\n")[0].split())
        cells = (
            f"`{attack.name}`",
            summary,
            _section(attack, "Source"),
            _section(attack, "Stopped by"),
            _event(attack),
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def removals() -> dict[str, dict[str, set[str]]]:
    """Control -> attack -> the other controls that had to go with it (empty: this one was the only lock)."""
    found: dict[str, dict[str, set[str]]] = {}
    for attack in attacks():
        for controls in attack.removals:
            names = controls.split("+")
            for name in names:
                found.setdefault(name, {})[attack.name] = set(names) - {name}
    return found


def control_table() -> str:
    """One row for each control: the attacks for which it is the only lock, and those where it is one of several."""
    rows = ["| control | the only lock against | one of several against |", "|---|---|---|"]
    found = removals()
    for name in sorted({*CONTROLS, *found}):
        alone = sorted(attack for attack, others in found.get(name, {}).items() if not others)
        shared = sorted(attack for attack, others in found.get(name, {}).items() if others)
        rows.append(
            "| " + " | ".join((f"`{name}`", *(", ".join(f"`{a}`" for a in each) for each in (alone, shared)))) + " |"
        )
    return "\n".join(rows)


def generated(document: str) -> str:
    """``document`` with its two generated blocks renewed."""
    pieces = document.split(_START)
    tables = (control_table(), attack_table())
    renewed = [
        f"{_START}\n{table}\n{_END}{piece.split(_END, 1)[1]}" for table, piece in zip(tables, pieces[1:], strict=True)
    ]
    return pieces[0] + "".join(renewed)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        DOCUMENT.write_text(generated(DOCUMENT.read_text()))
    else:
        print(control_table(), attack_table(), sep="\n\n")
