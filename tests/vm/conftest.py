"""The runner of virtual machines is a script, so its modules are found beside it."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "vm"))

# Booting guests takes minutes: scripts/test-vm --all does.
collect_ignore = [] if os.environ.get("HIVEBOX_TEST_VM") else ["test_machine.py"]
