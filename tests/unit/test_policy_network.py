"""``network:`` from the file to the policy, within its bounds, and back."""

from __future__ import annotations

import pytest

from hivebox.errors import HiveboxError, ProfileError
from hivebox.policy.check import check
from hivebox.policy.explain import explain
from hivebox.policy.hosts import read_rule
from hivebox.policy.load import override, policy_sha256
from hivebox.policy.model import Allow, Network, Policy, policy_from_plain, policy_to_plain
from hivebox.policy.profile import compile_profile
from hivebox.policy.show import to_yaml
from tests.unit.policy_case import Home

RULES = """
network:
  mode: allow
  allow:
    - {host: PyPI.example., ports: [443, 443], rate: 1M, max_bytes: 1G, max_connections: 4, sni: any}
    - {host: "*.example.org", ports: [80]}
    - {cidr: 203.0.113.0/24, ports: [5432]}
    - {cidr: "2001:db8::1", ports: [53], protocol: udp}
    - {host: db.internal, ports: [5432], host_loopback: true}
  dns: [192.0.2.53, "2001:DB8::53"]
"""
SERVERS = ("192.0.2.53", "2001:db8::53")
READ = (
    Allow(host="pypi.example", ports=(443,), sni="any", rate_bytes_s=1 << 20, max_bytes=1 << 30, max_connections=4),
    Allow(host="*.example.org", ports=(80,)),
    Allow(cidr="203.0.113.0/24", ports=(5432,)),
    Allow(cidr="2001:db8::1", ports=(53,), protocol="udp"),
    Allow(host="db.internal", ports=(5432,), host_loopback=True),
)


def load(home: Home, text: str) -> Policy:
    home.profile("mine", text)
    return home.load("mine")


def test_every_key_is_read(home: Home) -> None:
    policy = load(home, RULES)
    assert policy.network == Network("allow", READ, SERVERS)
    assert policy_from_plain(policy_to_plain(policy)) == policy


def test_what_is_shown_is_read_as_the_same(home: Home) -> None:
    home.profile("mine", RULES)
    compiled = compile_profile("mine")
    home.profile("shown", to_yaml(compiled.policy, compiled.origins))
    assert home.load("shown").network == compiled.policy.network


@pytest.mark.parametrize("text", ["{}", "network: {}", "network: {mode: allow}", "network: {mode: allow, allow: []}",
                                  "network: {mode: allow, allow: null}", "network: {allow: null}", "network: {allow: []}",
                                  "network: {mode: none, allow: [{host: a.example, ports: [443]}]}"])  # fmt: skip
def test_what_names_nothing_allows_nothing(home: Home, text: str) -> None:
    assert load(home, text).network.allow == ()


def test_a_profile_that_extends_can_switch_it_off_or_replace_it(home: Home) -> None:
    home.profile("wide", RULES)
    assert load(home, "extends: wide\nnetwork: {mode: none}").network == Network(dns=SERVERS)
    assert load(home, "extends: wide\nnetwork: {dns: host}").network == Network("allow", READ)
    asked = override(load(home, "extends: wide\nnetwork: {mode: none}"), allow=READ[:1])
    assert asked.network == Network("allow", READ[:1], SERVERS)
    narrowed = load(home, "extends: wide\nnetwork: {allow: [{host: a.example, ports: [443]}]}")
    assert narrowed.network.allow == (Allow(host="a.example", ports=(443,)),)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("[]", "0 name servers"),
        ("[192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4]", "4 name servers"),
        ("[ns.example]", "not an address: 'ns.example'"),
        ("['fe80::1%eth0']", "not an address"),
        ("[192.0.2.1:53]", "not an address"),
        ("none", "expected host, or a list of addresses"),
        ("null", "expected host, or a list of addresses"),
    ],
)
def test_name_servers_that_are_none(home: Home, value: str, says: str) -> None:
    with pytest.raises(ProfileError) as raised:
        load(home, f"network: {{dns: {value}}}")
    assert says in str(raised.value)


def test_the_digest_depends_on_every_rule(home: Home) -> None:
    policy = load(home, RULES)
    networks = [Network("allow", READ[:count]) for count in range(len(READ) + 1)]
    networks += [Network("allow", READ, SERVERS[:count]) for count in (1, 2)]
    assert len({policy_sha256(policy._replace(network=network)) for network in networks}) == len(networks)


# -- bounds -----------------------------------------------------------------------------------------------------------------


BOUND = 'network: {hosts: ["*.example.org", pypi.example], cidrs: [203.0.113.0/24], host_loopback: false}'


@pytest.mark.parametrize(
    "rule", ["pypi.example:1", "a.example.org:443", "*.b.example.org:443", "203.0.113.7:22", "203.0.113.0/25:22"]
)
def test_rules_within_the_bounds(home: Home, rule: str) -> None:
    home.security(BOUND)
    assert override(load(home, "{}"), allow=(read_rule(rule),)).network.allow == (read_rule(rule),)


@pytest.mark.parametrize(
    "rule", ["evil.example:443", "*.example:443", "example.org:443", "203.0.0.0/16:22", "[2001:db8::]/32:22"]
)
def test_rules_beyond_them_name_both_places(home: Home, rule: str) -> None:
    home.security(BOUND)
    with pytest.raises(ProfileError) as raised:
        override(load(home, "{}"), allow=(read_rule(rule),))
    assert f"network.allow: {rule} (command line)" in raised.value.why and "security_policy.yml:1" in raised.value.why


def test_a_profile_beyond_them_is_named_by_line(home: Home) -> None:
    home.security(BOUND)
    with pytest.raises(ProfileError) as raised:
        load(home, RULES)
    assert "db.internal:5432 on this host's loopback" in raised.value.why
    assert "mine.yaml:8)" in raised.value.why and "mine.yaml:9)" in raised.value.why


def test_one_kind_of_bound_closes_the_others(home: Home) -> None:
    home.security("network: {hosts: [pypi.example]}")
    bounds = load(home, "{}").bounds
    assert (bounds.hosts, bounds.cidrs, bounds.dns, bounds.host_loopback) == (("pypi.example",), (), (), False)
    with pytest.raises(ProfileError, match=r"network\.dns: 192\.0\.2\.53 .*allowed: nothing"):
        load(home, "network: {dns: [192.0.2.53]}")  # who would say that pypi.example is somewhere else


def test_name_servers_within_the_bounds(home: Home) -> None:
    home.security("network: {hosts: [pypi.example], dns: [192.0.2.53, 192.0.2.54]}")
    assert load(home, "network: {dns: [192.0.2.53]}").network.dns == ("192.0.2.53",)
    with pytest.raises(ProfileError, match=r"network\.dns: 192\.0\.2\.1 "):
        load(home, "network: {dns: [192.0.2.53, 192.0.2.1]}")


def test_two_files_allow_what_both_do(home: Home) -> None:
    home.security('network: {hosts: ["*.example.org"], cidrs: [203.0.113.0/24]}')
    home.security("network: {hosts: [a.example.org, b.example], cidrs: [203.0.113.7, 192.0.2.1]}", where="user")
    bounds = load(home, "{}").bounds
    assert (bounds.hosts, bounds.cidrs) == (("a.example.org",), ("203.0.113.7",))


# -- views ------------------------------------------------------------------------------------------------------------------


def test_it_is_explained_with_its_lines(home: Home) -> None:
    home.profile("mine", RULES)
    compiled = compile_profile("mine")
    facts = [fact for fact in explain(compiled.policy, compiled.origins) if fact.section == "network"]
    texts = {fact.text: fact.origin.rsplit(":", 1)[-1] for fact in facts if fact.verdict == "grants"}
    assert texts["reaches pypi.example at tcp port 443; NO CHECK that it is meant"] == "5"
    assert texts["reaches *.example.org at tcp port 80; each request must be for it"] == "6"
    assert texts["reaches the address 2001:db8::1 at udp port 53"] == "8"
    assert texts["reaches this host's own loopback at tcp port 5432, as db.internal"] == "9"
    assert texts["look-ups by 192.0.2.53, 2001:db8::53, of names that a rule allows"] == "10"
    assert "pypi.example: 4 connections at once" in {fact.text for fact in facts if fact.verdict == "limits"}


def test_what_is_worth_a_remark(home: Home) -> None:
    found = {
        finding.what for finding in check(load(home, RULES)) if "example" in finding.what or "internal" in finding.what
    }
    assert found == {"pypi.example:443: sni: any", "db.internal:5432: host_loopback"}


def test_rules_without_sockets_stop_the_run() -> None:
    from hivebox.plan.resolve import _check_sockets

    with pytest.raises(HiveboxError, match="without sockets"):
        _check_sockets(Policy("x", network=Network("allow", READ)))


@pytest.mark.parametrize(
    ("rule", "says"), [("localhost:80", "own loopback"), ("x.localhost", "own loopback"), ("a.test:", "no port after")]
)
def test_rules_that_would_never_work(rule: str, says: str) -> None:
    with pytest.raises(HiveboxError) as caught:
        read_rule(rule)
    assert says in str(caught.value)
