"""What coverage-guided fuzzing of the relay's parsers started from and found (tests/fuzz), run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

SEEDS = Path(__file__).parents[1] / "fuzz" / "seeds"


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_seeds(name: str) -> None:
    results = [TARGETS[name](path.read_bytes()) for path in sorted((SEEDS / name).iterdir())]
    assert len(results) > 1
    assert any(results)  # some are what the parser is for
