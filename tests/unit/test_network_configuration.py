"""Where names are looked up."""

from __future__ import annotations

import ipaddress

import pytest

from hivebox.network.configuration import configure, parse_hosts, parse_resolv_conf


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ((), 2.0, 2)),
        ("nameserver 192.0.2.53\nnameserver 2001:db8::53\n", (("192.0.2.53", "2001:db8::53"), 2.0, 2)),
        ("nameserver fe80::1%eth0\n", (("fe80::1%eth0",), 2.0, 2)),
        ("nameserver\nnameserver ns.example\n# nameserver 192.0.2.1\nsearch example\n", ((), 2.0, 2)),
        ("nameserver 192.0.2.1\n" * 5, (("192.0.2.1",) * 3, 2.0, 2)),
        ("options timeout:1 attempts:1 rotate\n", ((), 1.0, 1)),
        ("options timeout:0 attempts:0 timeout:x\n", ((), 1.0, 1)),
        ("options timeout:30 attempts:99\n", ((), 2.0, 3)),  # a payload gets its answer while it still waits
    ],
)
def test_resolv_conf(text: str, found: tuple[tuple[str, ...], float, int]) -> None:
    assert parse_resolv_conf(text) == found


def test_hosts() -> None:
    text = "127.0.0.1 localhost\n192.0.2.1 A.example a # c.example\n2001:db8::1 a.example\nfe80::1%lo b\nnonsense\n\n"
    addresses = {name: tuple(map(str, found)) for name, found in parse_hosts(text).items()}
    assert addresses == {"localhost": ("127.0.0.1",), "a.example": ("192.0.2.1", "2001:db8::1"), "a": ("192.0.2.1",)}
    assert parse_hosts(text)["a"] == (ipaddress.ip_address("192.0.2.1"),)


def test_servers_of_a_profile_replace_all_of_the_hosts() -> None:
    configuration = configure(("192.0.2.53", "2001:db8::53"))
    assert [server[:2] for server in configuration.servers] == [("192.0.2.53", 53), ("2001:db8::53", 53)]
    assert configuration.hosts == {}
