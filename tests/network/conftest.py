"""One world for all tests of a worker: it takes two seconds to make."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.network import authority
from tests.network.world import DNS, NAMES, WEB, World

_ROOT = Path(__file__).parents[2]


def _names_for_dnsmasq() -> list[str]:
    by_family: list[str] = []
    for name, addresses in NAMES.items():
        by_family += [f"--host-record={name},{address}" for address in addresses]
    return by_family


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """Names, web servers, echoes; its directory holds www/, ca.pem and the name server's log."""
    for program in ("dnsmasq", "nsenter", "ip"):
        if not shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin"):
            pytest.skip(f"no {program}")
    directory = Path(tempfile.mkdtemp(prefix="hivebox-world-"))
    (directory / "www").mkdir()
    authority.issue(directory, [*NAMES, "evil.example", "*.wild.example"])
    made = World(directory)
    try:
        log = (directory / "servers.log").open("wb")
        made.serve(sys.executable, "-m", "tests.network.servers", str(directory), stderr=log, cwd=_ROOT)
        made.serve(
            *("/usr/sbin/dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"),
            *("--user=root", "--group=root", "--log-queries=extra", f"--log-facility={directory}/dns.log"),
            *(f"--listen-address={DNS}", "--bind-interfaces", "--pid-file=", "--max-ttl=1"),
            *("--address=/.example/", *_names_for_dnsmasq()),
            stderr=subprocess.DEVNULL,
        )
        for port in (80, 443):
            made.wait_for(WEB, port)
        made.wait_for(DNS, 53)
        yield made
        log.close()
    finally:
        made.close()
        shutil.rmtree(directory)
