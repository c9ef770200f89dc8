"""The relay's process."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from tests.network.attempts import ALLOWED
from tests.network.world import (
    PROFILE,
    World,
)


def test_the_relay_dies_with_the_supervisor(world: World) -> None:
    marker = f"relay-{os.getpid()}"
    command = world.command(
        "run",
        "-p",
        PROFILE,
        "--allow-net",
        ALLOWED,
        "--",
        "python3",
        "-c",
        f"import time; '{marker}'; print('up', flush=True); time.sleep(60)",
    )
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE)

    def relays() -> list[int]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (entry / "comm").read_text() == "hivebox-net\n" and marker in (entry / "cmdline").read_text():
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found

    assert process.stdout and process.stdout.readline() == b"up\n"
    (relay,) = relays()
    status = Path(f"/proc/{relay}/status").read_text()
    assert "NoNewPrivs:\t1" in status and "CapEff:\t0000000000000000" in status
    if world.is_root:
        assert "Uid:\t65534" in status
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 20
    while relays():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_relay_that_is_killed_is_reported(world: World) -> None:
    code = "print('up', flush=True)\nsys.stdin.readline()"
    report = world.directory / "killed.json"
    command = world.command(
        "run", "-p", PROFILE, "--stdin", "inherit", "--report", str(report), "--allow-net", ALLOWED, "--", "python3", "-c",
        "import sys\n" + code,
    )  # fmt: skip
    process = subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout and process.stdout.readline() == b"up\n"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        if Path(f"/proc/{child}/comm").read_text() == "hivebox-net\n":
            os.kill(int(child), 9)
    _, errors = process.communicate(b"\n", timeout=30)
    assert b"the relay died" in errors
