"""What a cold `hivebox run` imports: a tenth of a second is a few careless lines away (docs/performance.md#cold-start).

Asked of the interpreter itself (-X importtime), in a process started as bin/hivebox starts, without `site`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The standard library's modules that one run may import, beside those that every interpreter does. Growing this costs
# every run: `import re`, `json`, `typing`, `enum` or `hashlib` take 2 to 6 ms each, in a start of 30.
LIGHT = {
    "_collections", "_ctypes", "_json", "_sha2", "_sha256", "_socket", "_struct",
    "__future__", "_collections_abc", "binascii", "errno", "fcntl", "gc", "genericpath", "math", "os", "posixpath", "pwd", "resource",
    "select", "stat", "struct", "_stat", "sys",
}  # fmt: skip
# Imported by hivebox itself only when it is needed.
LATE = {
    "hivebox.policy.profile", "hivebox.rootfs.build", "hivebox.kernel.seccomp_compile", "hivebox.supervise.collect",
    "hivebox.kernel.syscall_table", "hivebox.policy.syscall_groups",
}  # fmt: skip


def imported(code: str) -> set[str]:
    """Names that the interpreter says it imported while it ran ``code`` (encodings left out)."""
    command = [sys.executable, "-I", "-S", "-X", "importtime", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert len(lines) > 3
    names = {line.rsplit("|", 1)[1].strip() for line in lines[1:]}
    return {name for name in names if not name.startswith("encodings")}


def test_a_run_imports_only_light_modules() -> None:
    run = (
        f"import sys; sys.path.append({str(ROOT)!r}); sys.argv[1:] = ['run', '--', 'true'];"
        "from hivebox.cli.main import entry; entry()"
    )
    warm = [sys.executable, "-m", "hivebox", "run", "--", "true"]  # the first one builds the root and the caches
    subprocess.run(warm, check=True, capture_output=True)
    found = imported(run) - imported("pass")
    assert "hivebox.audit.ledger" in found  # it did run
    assert {name for name in found if not name.startswith("hivebox")} <= LIGHT
    assert not found & LATE
