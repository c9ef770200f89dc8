"""A small Internet of two network namespaces. hivebox runs in one, as on a host; the servers are in the other. Every
address is one of documentation's (or one that must not be reached); nothing leads to the machine's own network.

    host 192.0.2.1, 2001:db8:1::1  ── veth ──  192.0.2.53, 2001:db8:1::53 servers
      hivebox run                                203.0.113.10, 2001:db8:2::10   pypi.example and others
      its own loopback and LAN services          198.51.100.20, 10.9.8.7, 169.254.169.254, fd00::7, … and dnsmasq

An ordinary user makes it in a user namespace; hivebox is then started in another one below, as no root of either.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
LAN, DNS = "192.0.2.1", "192.0.2.53"
WEB, WEB6, OTHER = "203.0.113.10", "2001:db8:2::10", "198.51.100.20"
ECHO_PORT, UDP_PORT, SSH_PORT, OPEN_PORT, SILENT_PORT = 7000, 7001, 2222, 8080, 7002
# Names and where they lead. The last ones are traps.
NAMES = {
    "pypi.example": (WEB, WEB6),
    "four.example": (WEB,),
    "six.example": (WEB6,),
    "other.example": (OTHER,),
    "a.wild.example": (WEB, WEB6),
    "b.a.wild.example": (WEB,),
    "halfdead.example": ("203.0.113.99", "2001:db8:2::99", WEB),
    "dead.example": ("203.0.113.99",),
    "loopback.example": ("127.0.0.1", "::1"),
    "metadata.example": ("169.254.169.254",),
    "private.example": ("10.9.8.7", "fd00::7"),
    "lan.example": (LAN, "2001:db8:1::1"),
    "mapped.example": ("::ffff:10.9.8.7", "64:ff9b::a09:807", "2002:a09:807::1"),
    "mixed.example": ("10.9.8.7", WEB),
}
_SERVER_ADDRESSES = (
    *("203.0.113.10/24", "198.51.100.20/24", "10.9.8.7/8", "169.254.169.254/16"),
    *("2001:db8:2::10/64", "fd00::7/64", "2001:db8:2::20/64"),
)
_READY_S = 20.0
PROFILE = str(HERE / "profile.yaml")


class Run(NamedTuple):
    """One ``hivebox run``."""

    code: int
    out: str
    err: str
    report: dict[str, Any]

    @property
    def network(self) -> dict[str, Any]:
        return dict(self.report["network"])

    def refused(self) -> set[tuple[str, str, int]]:
        """(layer, name or address, port) of every refusal."""
        return {(each["layer"], each["name"] or each["address"], each["port"]) for each in self.network["refused"]}


class World:
    """``close`` ends every process of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directory.chmod(0o755)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.is_root = os.geteuid() == 0
        self._ours = self._hold("-n", "-m") if self.is_root else self._hold("-U", "-r", "-n", "-m")
        self._theirs = self._hold("-n", inside=self._ours)
        self.resolv_conf = directory / "resolv.conf"
        self.resolv_conf.write_text(f"nameserver {DNS}\noptions timeout:1 attempts:1\n")
        self._wire()

    # -- making it -------------------------------------------------------------------------------------------------

    def _hold(self, *flags: str, inside: int = 0) -> int:
        """A process that does nothing but keep its namespaces; its pid."""
        command = ["unshare", *flags, "sh", "-c", "echo up; exec sleep 1000000"]
        holder = subprocess.Popen([*self._enter(inside), *command] if inside else command, stdout=subprocess.PIPE)
        self._processes.append(holder)
        assert holder.stdout and holder.stdout.readline() == b"up\n"
        return holder.pid

    def _enter(self, pid: int, *, rootless: bool = False) -> list[str]:
        flags = ["-n"] if pid != self._ours else ["-n", "-m"]
        if not self.is_root:
            flags += ["-U", "--preserve-credentials"]
        command = ["nsenter", "-t", str(pid), *flags]
        if rootless and not self.is_root:
            command += ["unshare", "-U", "--map-user=1000", "--map-group=1000"]
        return command

    def _shell(self, pid: int, script: str) -> None:
        subprocess.run([*self._enter(pid), "sh", "-ec", script], check=True)

    def _wire(self) -> None:
        here = "ip link add out type veth peer name in netns " + str(self._theirs)
        script = [here, "ip link set lo up", "ip link set out up", f"ip addr add {LAN}/24 dev out"]
        script += ["ip -6 addr add 2001:db8:1::1/64 dev out nodad", f"mount --bind {self.resolv_conf} /etc/resolv.conf"]
        self._shell(self._ours, "\n".join(script))
        script = ["ip link set lo up", "ip link set in up", f"ip addr add {DNS}/24 dev in"]
        script += ["ip -6 addr add 2001:db8:1::53/64 dev in nodad"]
        script += ["echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start"]
        script += [f"ip addr add {address} dev in {'nodad' if ':' in address else ''}" for address in _SERVER_ADDRESSES]
        self._shell(self._theirs, "\n".join(script))
        routes = [f"ip route add default via {DNS}", "ip -6 route add default via 2001:db8:1::53"]
        routes += ["ip route add 169.254.0.0/16 via 192.0.2.53"]
        self._shell(self._ours, "\n".join(routes))

    def python(self, code: str, *rules: str, without: str = "", options: tuple[str, ...] = ()) -> Run:
        """Run ``code`` in a sandbox with these rules; the host's Python, and what most tests import."""
        allow = [word for rule in rules for word in ("--allow-net", rule)]
        head = "import json, socket, ssl, struct, sys, time\n"
        return self.run("-p", PROFILE, *allow, *options, "--", "python3", "-c", head + code, without=without)

    # -- using it --------------------------------------------------------------------------------------------------

    def serve(
        self, *command: str, outside: bool = False, rootless: bool = False, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start something among the servers; ``outside``: where hivebox runs. ``rootless`` is for what would change its
        user if it were root, which the root of a user namespace cannot."""
        where = self._enter(self._ours if outside else self._theirs, rootless=rootless)
        process = subprocess.Popen([*where, *command], **options)
        self._processes.append(process)
        return process

    def call(
        self, *command: str, outside: bool = True, rootless: bool = False, **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Run something to its end: on the host, without a sandbox."""
        where = self._enter(self._ours if outside else self._theirs, rootless=rootless)
        options = {"capture_output": True, "timeout": 60, **options}
        return subprocess.run([*where, *command], check=False, **options)

    def command(self, *arguments: str, without: str = "") -> list[str]:
        """``hivebox ARGS...`` on the host of this world; ``without`` one control (weakened.py)."""
        module = ["tests.network.weakened", without] if without else ["hivebox"]
        return [*self._enter(self._ours, rootless=True), sys.executable, "-m", *module, *arguments]

    def run(self, *arguments: str, timeout: float = 120, without: str = "", **options: Any) -> Run:
        """``hivebox run ARGS...`` with its report."""
        report = self.directory / f"report-{os.getpid()}-{time.monotonic_ns()}.json"
        command = self.command("run", "--report", str(report), *arguments, without=without)
        options = {"capture_output": True, "timeout": timeout, "cwd": HERE.parents[1], **options}
        ended = subprocess.run(command, check=False, **options)
        facts = json.loads(report.read_text()) if report.exists() and report.stat().st_size else {}
        return Run(
            ended.returncode, ended.stdout.decode(errors="replace"), ended.stderr.decode(errors="replace"), facts
        )

    @staticmethod
    def read_report(path: Path) -> dict[str, Any]:
        return dict(json.loads(path.read_text()))

    def wait_for(self, address: str, port: int) -> None:
        """Until something listens there."""
        probe = f"import socket; socket.create_connection(({address!r}, {port}), 1)"
        deadline = time.monotonic() + _READY_S
        while self.call(sys.executable, "-c", probe).returncode:
            assert time.monotonic() < deadline, f"nothing listens on {address} port {port}"
            time.sleep(0.05)

    def close(self) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
