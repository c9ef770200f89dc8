"""These tests change the machine they run on: only ever a virtual one of scripts/test-vm."""

import os

collect_ignore_glob = [] if os.environ.get("HIVEBOX_TEST_EMULATED") else ["test_*.py"]
