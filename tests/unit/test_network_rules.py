"""Which rule covers what, and where a name may lead."""

from __future__ import annotations

import ipaddress

import pytest

from hivebox.errors import HiveboxError
from hivebox.network.addresses import names_special, special
from hivebox.network.rules import Rules
from hivebox.policy import hosts
from hivebox.policy.hosts import (
    MOST_PORTS,
    check_rules,
    covers,
    covers_range,
    host_name,
    inspection,
    matches,
    read_rule,
)
from hivebox.policy.model import Allow


def rules(*texts: str) -> Rules:
    return Rules(tuple(read_rule(text) for text in texts))


@pytest.mark.parametrize(
    ("text", "target", "ports", "protocol"),
    [
        ("pypi.example:443", "pypi.example", (443,), "tcp"),
        ("PyPI.Example.", "pypi.example", (443,), "tcp"),
        ("*.example.org:443,80", "*.example.org", (443, 80), "tcp"),
        ("203.0.113.0/24:5432", "203.0.113.0/24", (5432,), "tcp"),
        ("udp://192.0.2.1:123", "192.0.2.1", (123,), "udp"),
        ("[2001:db8::1]:443", "2001:db8::1", (443,), "tcp"),
        ("[2001:db8::]/32:443", "2001:db8::/32", (443,), "tcp"),
        ("[2001:db8::/32]:443", "2001:db8::/32", (443,), "tcp"),
        ("2001:db8::1", "2001:db8::1", (443,), "tcp"),
    ],
)
def test_rules_are_read_and_written_the_same(text: str, target: str, ports: tuple[int, ...], protocol: str) -> None:
    rule = read_rule(text)
    assert (rule.host or rule.cidr, rule.ports, rule.protocol) == (target, ports, protocol)
    assert read_rule(rule.text()) == rule


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("*", "every name"),
        ("*:443", "every name"),
        ("a.example:*", "no wildcard ports"),
        ("a.example:0", "no wildcard ports"),
        ("a.example:65536", "not a port"),
        ("a.example:http", "not a port"),
        ("icmp://a.example", "ICMP"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("a..example", "not a host name"),
        ("a.*.example", "not a host name"),
        ("0x7f.1", "not a host name"),
        ("2130706433", "not a host name"),
        ("0177.0.0.1", "not a host name"),
        ("a.example\0.b.example", "not a host name"),
        ("127.0.0.1:80", "host_loopback"),
        ("[::1]:80", "host_loopback"),
        ("203.0.113.7/24:80", "host bits"),
        ("", "not a host name"),
    ],
)
def test_what_is_no_rule_says_why(text: str, says: str) -> None:
    with pytest.raises(HiveboxError) as raised:
        read_rule(text)
    assert says in str(raised.value)


def test_too_many_ports() -> None:
    many = tuple(read_rule(f"a.example:{port}") for port in range(1, MOST_PORTS + 2))
    with pytest.raises(HiveboxError, match="65 different ports"):
        check_rules(many)


@pytest.mark.parametrize("name", ["a", "a.example", "xn--a.example", "_dmarc.example", "a-b.example", "a" * 63 + ".b"])
def test_host_names(name: str) -> None:
    assert host_name(name) == host_name(name.upper() + ".") == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "a..b", ".a", "a.example..", "a" * 64 + ".b", "a b", "a\0", "a%", "é.b", "\uff45xample.org", "1.2.3.4", "a.1",
     "a.0x", "a.0X1F", "-a.b", "a-.b", ".".join(["a" * 50] * 6), "a\n", "a/b", "a:1", "[::1]"],
)  # fmt: skip
def test_what_is_no_host_name(name: str) -> None:
    assert host_name(name) == ""


def test_a_wildcard_is_what_is_below() -> None:
    assert matches("*.example.org", "a.example.org") and matches("*.example.org", "a.b.example.org")
    for other in ("example.org", "badexample.org", "example.org.evil.example", ".example.org"):
        assert not matches("*.example.org", other)
    assert covers("*.example.org", "*.a.example.org") and not covers("*.a.example.org", "*.example.org")
    assert not covers("a.example.org", "*.example.org")
    assert covers_range("203.0.113.0/24", "203.0.113.7") and not covers_range("203.0.113.0/24", "203.0.112.0/23")


def test_ports_and_protocols_are_part_of_a_rule() -> None:
    some = rules("a.example:443", "udp://a.example:53", "*.b.example:80")
    assert some.by_name("a.example", 443, "tcp") and not some.by_name("a.example", 443, "udp")
    assert not some.by_name("a.example", 80, "tcp") and some.by_name("x.b.example", 80, "tcp")
    assert some.knows("a.example") and not some.knows("b.example") and not some.knows("example")


SPECIAL = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.1.2.3", "169.254.169.254", "172.31.255.255", "192.168.0.1",
    "192.0.0.1", "192.88.99.1", "198.18.0.1", "198.19.255.255", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:203.0.113.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1",
    "2001::1", "2001:2::1", "2001:10::1", "2002:7f00:1::", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1",
    "5f00::1", "4000::1",
]  # fmt: skip


@pytest.mark.parametrize("text", SPECIAL)
def test_a_name_may_not_lead_to_a_special_address(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert special(address)
    wide = rules("0.0.0.0/0:443", "[::]/0:443", "a.example:443")
    assert wide.refusal(address, 443, "tcp")
    assert wide.by_address(address, 443, "tcp") is None  # and a range of everything does not name it


@pytest.mark.parametrize("text", ["203.0.113.7", "192.0.2.1", "198.51.100.1", "1.1.1.1", "2001:db8::1", "2606:4700::1"])
def test_other_addresses_are_ordinary(text: str) -> None:
    assert special(ipaddress.ip_address(text)) == ""
    assert rules("a.example:443").refusal(ipaddress.ip_address(text), 443, "tcp") == ""


def test_a_special_address_is_reached_when_a_rule_names_it() -> None:
    some = rules("10.0.0.0/8:5432", "169.254.169.254:80", "[fd00::]/8:443")
    assert some.refusal(ipaddress.ip_address("10.1.2.3"), 5432, "tcp") == ""
    assert some.refusal(ipaddress.ip_address("10.1.2.3"), 443, "tcp")
    assert some.exactly(ipaddress.ip_address("169.254.169.254"), 80, "tcp")
    assert not some.exactly(ipaddress.ip_address("10.1.2.3"), 5432, "tcp")
    assert not some.by_address(ipaddress.ip_address("::ffff:10.1.2.3"), 5432, "tcp")
    assert names_special(ipaddress.ip_network("fd00::/8")) and not names_special(ipaddress.ip_network("0.0.0.0/0"))


@pytest.mark.parametrize(
    ("rule", "port", "kind"),
    [
        (Allow(host="a.example", ports=(443,)), 443, hosts.TLS),
        (Allow(host="a.example", ports=(80,)), 80, hosts.HEAD),
        (Allow(host="a.example", ports=(22,)), 22, hosts.WATCH),
        (Allow(host="a.example", ports=(22,), sni="required"), 22, hosts.TLS),
        (Allow(host="a.example", ports=(443,), sni="any"), 443, hosts.NOTHING),
        (Allow(cidr="192.0.2.1", ports=(443,)), 443, hosts.NOTHING),
    ],
)
def test_what_is_looked_at(rule: Allow, port: int, kind: str) -> None:
    assert inspection(rule, port) == kind
