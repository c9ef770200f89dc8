"""``python -m tests.fuzz.run TARGET [libFuzzer options] [directories]``."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports():
    from tests.fuzz.targets import TARGETS

SEEDS = Path(__file__).parent / "seeds"


def main() -> None:
    name = sys.argv.pop(1)
    atheris.Setup([*sys.argv, str(SEEDS / name)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
