"""Hypothesis against the relay's parsers (tests/fuzz). HIVEBOX_FUZZ_S=600 goes on for so many seconds with each."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.shapes import SHAPES
from tests.fuzz.targets import TARGETS

_FOR_S = float(os.environ.get("HIVEBOX_FUZZ_S", "0"))
_EXAMPLES = 2_000 if _FOR_S else 300
_EVERY = settings(
    max_examples=_EXAMPLES,
    deadline=2000,
    database=None,
    suppress_health_check=list(HealthCheck),
    derandomize=not _FOR_S,
)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_shapes(name: str) -> None:
    """No crash, no example that takes two seconds, and what targets.py asserts: no false allow."""
    good = 0

    @_EVERY
    @given(SHAPES[name])
    def fuzz(data: bytes) -> None:
        nonlocal good
        good += bool(TARGETS[name](data))

    end = time.monotonic() + _FOR_S
    fuzz()
    while time.monotonic() < end:
        fuzz()
    assert good  # some are what the parser is for
