"""How names are looked up: by the host's own configuration as it is when the run starts, /etc/hosts and then the
servers of /etc/resolv.conf; or by the servers that a profile names, and nothing of the host's.

Names are looked up as the rule spells them: no search list is applied. Of nsswitch.conf nothing is read; a service
that answers on port 53, as systemd-resolved does, is asked like any other.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Any

from hivebox.frozen import Frozen
from hivebox.network.addresses import Address
from hivebox.policy.hosts import host_name

_MOST_SERVERS, _MOST_TRIES, _TRIES, _PORT = 3, 3, 2, 53
_LONGEST_TRY_S = 2.0  # a payload gets its answer while it still waits for one


class Configuration(Frozen):
    """``servers`` are socket addresses; ``hosts`` maps a canonical name to its addresses."""

    servers: tuple[tuple[Any, ...], ...]
    timeout_s: float
    attempts: int
    hosts: dict[str, tuple[Address, ...]]


def configure(servers: tuple[str, ...]) -> Configuration:
    """``servers`` are addresses; without any it is the host's own."""
    if not servers:
        return read_configuration()
    return Configuration(tuple(map(_socket_address, servers)), _LONGEST_TRY_S, _TRIES, {})


def read_configuration() -> Configuration:
    """As glibc reads the two files; what is missing is empty, and without servers the loopback is asked."""
    servers, timeout_s, attempts = parse_resolv_conf(_read("/etc/resolv.conf"))
    addresses = tuple(_socket_address(server) for server in servers or ("127.0.0.1",))
    return Configuration(addresses, timeout_s, attempts, parse_hosts(_read("/etc/hosts")))


def _socket_address(server: str) -> tuple[Any, ...]:
    """A zone, as in fe80::1%eth0, becomes a number; nobody is asked."""
    return socket.getaddrinfo(server, _PORT, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0][4]


def _read(path: str) -> str:
    try:
        with open(path, encoding="latin-1") as file:
            return file.read(1 << 20)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.EACCES}:
            return ""
        raise


def parse_resolv_conf(text: str) -> tuple[tuple[str, ...], float, int]:
    """(servers, seconds for each try, tries), resolv.conf(5)."""
    servers: list[str] = []
    options = {"timeout": 5, "attempts": _TRIES}
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            servers += [words[1]] if _is_address(words[1]) else []
        elif words and words[0] == "options":
            for name, _, value in (word.partition(":") for word in words[1:]):
                if name in options and value.isdigit():
                    options[name] = int(value)
    return (
        tuple(servers[:_MOST_SERVERS]),
        min(max(options["timeout"], 1), _LONGEST_TRY_S),
        min(max(options["attempts"], 1), _MOST_TRIES),
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def parse_hosts(text: str) -> dict[str, tuple[Address, ...]]:
    """hosts(5): every line counts, as with ``multi on``."""
    found: dict[str, tuple[Address, ...]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if _is_address(address) and "%" not in address:
            for name in filter(None, map(host_name, names)):
                found[name] = (*found.get(name, ()), ipaddress.ip_address(address))
    return found
