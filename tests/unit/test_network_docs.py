"""docs/network.md is true: each attack in its table is a test, and each test of an attack is in its table."""

from __future__ import annotations

import re
from pathlib import Path

from hivebox.network.events import Event

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "network.md").read_text()
ATTACKS = ("elsewhere", "own_namespace", "fronting", "names", "floods", "relay")


def test_the_table_of_attacks_is_that_of_the_tests() -> None:
    named = set(re.findall(r"`(test_[a-z_]+\.py::test_[a-z0-9_]+)`", TEXT))
    written = {
        f"test_{file}.py::{name}"
        for file in ATTACKS
        for name in re.findall(r"^def (test_\w+)", (ROOT / f"tests/network/test_{file}.py").read_text(), re.MULTILINE)
    }
    assert named == written


def test_the_table_of_events_has_every_field() -> None:
    section = TEXT.split("## events", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert {field for row in rows for field in re.findall(r"`(\w+)`", row.split("|")[1])} == set(Event._fields)
