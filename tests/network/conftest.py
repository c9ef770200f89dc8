"""One world for all tests of a worker: it takes two seconds to make."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.network import authority
from tests.network.world import DNS, NAMES, SILENT_PORT, WEB, World

_ROOT = Path(__file__).parents[2]


def _names_for_dnsmasq() -> list[str]:
    by_family: list[str] = []
    for name, addresses in NAMES.items():
        by_family += [f"--host-record={name},{address}" for address in addresses]
    return by_family


@contextmanager
def made_world(*, web: bool = True) -> Iterator[World]:
    """Names, and with ``web`` the servers of servers.py; its directory holds www/, ca.pem and the name server's log."""
    directory = Path(tempfile.mkdtemp(prefix="hivebox-world-"))
    (directory / "www").mkdir()
    authority.issue(directory, [*NAMES, "evil.example", "*.wild.example"])
    made = World(directory)
    try:
        made.serve(
            *("/usr/sbin/dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"),
            *(
                *(("--user=root", "--group=root") if made.is_root else ()),
                "--log-queries=extra",
                f"--log-facility={directory}/dns.log",
            ),
            *(f"--listen-address={DNS}", "--bind-interfaces", "--pid-file=", f"--local-ttl={0 if web else 60}"),
            *("--address=/.example/", *_names_for_dnsmasq()),
            rootless=True,
            stderr=subprocess.DEVNULL,
        )
        made.wait_for(DNS, 53)
        if web:
            log = (directory / "servers.log").open("wb")
            made.serve(sys.executable, "-m", "tests.network.servers", str(directory), stderr=log, cwd=_ROOT)
            log.close()
            for port in (80, 443, SILENT_PORT):
                made.wait_for(WEB, port)
        yield made
    finally:
        made.close()
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    for program in ("dnsmasq", "nsenter", "ip"):
        if not shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin"):
            pytest.skip(f"no {program}")
    with made_world() as made:
        yield made
