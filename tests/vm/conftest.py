"""The runner of virtual machines is a script, so its modules are found beside it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "vm"))
