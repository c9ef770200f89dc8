"""A run without an allowlist pays nothing for there being one: no module, no process, no thread, no descriptor."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import os, sys
from unittest.mock import patch
forks = []
fork = os.fork
os.fork = lambda: forks.append(1) or fork()
import hivebox.launch.launch as launch
go = launch.Sandbox.go
def counted(self):
    print("fds", len(os.listdir("/proc/self/fd")), flush=True)
    print("threads", len(os.listdir("/proc/self/task")), flush=True)
    go(self)
launch.Sandbox.go = counted
from hivebox.cli.main import main
code = main(["run", *sys.argv[1:], "-p", "python", "--", "python3", "-c", "pass"])
mine = sorted(name for name in sys.modules if name.startswith("hivebox.network"))
mine += sorted({"hivebox.policy.hosts", "hivebox.supervise.callers"} & set(sys.modules))
kernel = sorted({"hivebox.kernel.netlink", "hivebox.kernel.packet", "hivebox.kernel.sock_diag", "ipaddress"} & set(sys.modules))
print("code", code)
print("modules", *mine, *kernel)
print("forks", len(forks))
"""


def facts(*options: str) -> dict[str, str]:
    command = [sys.executable, "-I", "-c", CODE, *options]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict((line + " ").split(" ", 1) for line in printed.splitlines())


def test_a_run_without_rules_has_nothing_of_it() -> None:
    facts()  # the profile is compiled once
    without = facts()
    assert [without[key].strip() for key in ("code", "modules", "forks", "threads")] == ["0", "", "0", "1"]
    with_rules = facts("--allow-net", "198.51.100.1:9")
    assert "hivebox.network.process" in with_rules["modules"] and with_rules["forks"].strip() == "1"
    assert int(with_rules["fds"]) == int(without["fds"]) + 1  # the control socket
