"""Host names, address ranges and ports as a rule may name them: ``network: allow:`` and ``--allow-net``.

Pure. Imported only where there is an allowlist: on its way ``hivebox run`` has none. One spelling for each name: lower
case, no trailing dot, ASCII (an international name in its xn-- form), so that two names are the same when their
spellings are.
"""

from __future__ import annotations

import ipaddress
import re

from hivebox.errors import HiveboxError
from hivebox.policy.model import Allow

TLS, HEAD, WATCH, NOTHING = "tls", "head", "watch", "nothing"
_HTTPS, _HTTP = 443, 80
MOST_SERVERS = 3  # as many as resolv.conf(5) has
MOST_PORTS = 64  # listeners: two for each port of an allowlist
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_LONGEST = 253
_LOOPBACKS = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_HOST_LOOPBACK = "this host's own loopback: give it a name, {host: NAME, host_loopback: true, ports: [N]}"
_NO_WILDCARD = "name each port: there are no wildcard ports"
_FORMS = "HOST[:PORT,…], *.HOST:PORT, CIDR:PORT, [IPV6]:PORT or udp://ADDRESS:PORT"


def host_name(text: str) -> str:
    """The canonical spelling, or "" for what is no host name: an empty or long label, a character outside letters,
    digits, - and _ (NUL, %, space, anything beyond ASCII), or a last label that inet_aton(3) reads as a number."""
    name = text.removesuffix(".").lower() if text.isascii() else ""
    labels = name.split(".")
    if not 0 < len(name) <= _LONGEST or not all(_LABEL.fullmatch(label) for label in labels):
        return ""
    return "" if _NUMBER.fullmatch(labels[-1]) else name


def matches(pattern: str, name: str) -> bool:
    """``*.example.org`` stands for every name below example.org, however deep, and not for example.org itself."""
    if pattern.startswith("*."):
        return name.endswith(pattern[1:]) and len(name) >= len(pattern)
    return name == pattern


def covers(outer: str, inner: str) -> bool:
    """Whether every name that ``inner`` matches is one that ``outer`` matches."""
    if inner.startswith("*."):
        return outer.startswith("*.") and inner[1:].endswith(outer[1:])
    return matches(outer, inner)


def covers_range(outer: str, inner: str) -> bool:
    """Whether every address of ``inner`` is one of ``outer``."""
    around, within = ipaddress.ip_network(outer), ipaddress.ip_network(inner)
    return around.version == within.version and within.subnet_of(around)  # type: ignore[arg-type]


def read_pattern(text: str) -> str:
    """A host of a rule, canonical. Raises HiveboxError."""
    if text in {"*", "*."}:
        raise HiveboxError("* alone would be every name", "", "name the hosts, or one domain: *.example.org")
    wildcard, name = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    if not name.isascii():
        raise HiveboxError(f"{text!r} is not in ASCII", "", _in_ascii(name, wildcard))
    canonical = host_name(name)
    if canonical:
        return wildcard + canonical
    if _is_address(name):
        raise HiveboxError(f"{text!r} is an address", "", f"write cidr: {name}")
    hint = "write a plain name, as pypi.example, or *.example.org for what is below it"
    raise HiveboxError(f"not a host name: {text!r}", "", hint)


def _in_ascii(name: str, wildcard: str) -> str:
    try:
        return f"write {wildcard}{name.encode('idna').decode()}, if that is the name you mean"
    except UnicodeError:
        return "write its xn-- form"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def read_cidr(text: str) -> str:
    """An address, or a range of them, canonical. Raises HiveboxError."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        hint = "write an address, as 192.0.2.1, or a range, as 203.0.113.0/24, without host bits"
        raise HiveboxError(f"not an address or a range: {text!r}", str(error), hint) from error
    if any(network.version == each.version and network.subnet_of(each) for each in _LOOPBACKS):  # type: ignore[arg-type]
        raise HiveboxError(f"{text} is a loopback, and in the sandbox its own", "", _HOST_LOOPBACK)
    return str(network.network_address if network.num_addresses == 1 else network)


def read_server(text: str) -> str:
    """The address of a name server, canonical. Raises HiveboxError."""
    try:
        if "%" in text:
            raise ValueError("it has a zone, which only means something on one host")
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise HiveboxError(
            f"not an address: {text!r}", str(error), "write addresses, as 192.0.2.53, or host"
        ) from error


def read_port(value: int | str) -> int:
    """From 1 to 65535. Raises HiveboxError."""
    if value in {"*", 0, "any", "all"}:
        raise HiveboxError(f"{value!r} would be every port", "", _NO_WILDCARD)
    if isinstance(value, str) or not 0 < value <= 65535:
        raise HiveboxError(f"not a port: {value!r}", "", "give whole numbers from 1 to 65535")
    return value


def check_rule(rule: Allow) -> Allow:
    """What only several keys together show. Raises HiveboxError."""
    if bool(rule.host) == bool(rule.cidr):
        raise HiveboxError("a rule names one thing: host or cidr", "", "{host: pypi.example, ports: [443]}")
    if not rule.ports:
        raise HiveboxError(f"no ports for {rule.host or rule.cidr}", "", _NO_WILDCARD)
    if rule.host_loopback and (not rule.host or rule.host.startswith("*.")):
        raise HiveboxError(
            "host_loopback needs one name", "", "{host: db.internal, host_loopback: true, ports: [5432]}"
        )
    if not rule.host_loopback and (rule.host == "localhost" or rule.host.endswith(".localhost")):
        raise HiveboxError(f"{rule.host} is the sandbox's own loopback", "", _HOST_LOOPBACK)
    if rule.sni and (rule.protocol == "udp" or rule.cidr):
        raise HiveboxError("sni is for names over tcp", "", "leave it out")
    return rule


def check_rules(rules: tuple[Allow, ...]) -> tuple[Allow, ...]:
    """All rules of one policy. Raises HiveboxError."""
    ports = {(rule.protocol, port) for rule in rules for port in rule.ports}
    if len(ports) > MOST_PORTS:
        what = f"the network rules name {len(ports)} different ports, and at most {MOST_PORTS} can be served"
        raise HiveboxError(what, "", "name fewer ports")
    return rules


def read_rule(text: str) -> Allow:
    """One ``--allow-net``. Without a port it is 443. Raises HiveboxError."""
    scheme, mark, rest = text.rpartition("://")
    if mark and scheme not in {"tcp", "udp"}:
        why = "only tcp and udp are relayed, ICMP and others never are"
        raise HiveboxError(f"bad value for --allow-net: {text!r}", why, f"write {_FORMS}")
    if rest.endswith(":"):
        raise HiveboxError(
            f"bad value for --allow-net: {text!r}", "there is no port after the colon", f"write {_FORMS}"
        )
    target, port_text = _split(rest)
    ports = tuple(dict.fromkeys(_port(each, text) for each in port_text.split(","))) if port_text else (443,)
    if _is_address(target):
        return check_rule(Allow(cidr=read_cidr(target), ports=ports, protocol=scheme or "tcp"))
    return check_rule(Allow(host=read_pattern(target), ports=ports, protocol=scheme or "tcp"))


def _split(text: str) -> tuple[str, str]:
    """``[2001:db8::1]:443``, ``[2001:db8::]/32:443`` and ``name:443`` -> target and ports."""
    if text.startswith("["):
        target, _, rest = text[1:].partition("]")
        prefix, colon, ports = rest.partition(":")
        return target + prefix, ports if colon else ""
    if text.count(":") > 1:  # an IPv6 address without its port
        return text, ""
    target, _, ports = text.partition(":")
    return target, ports


def _port(text: str, whole: str) -> int:
    try:
        return read_port(int(text) if text.isascii() and text.isdigit() else text)
    except HiveboxError as error:
        raise HiveboxError(f"bad value for --allow-net: {whole!r}", error.what, error.hint) from error


def inspection(rule: Allow, port: int) -> str:
    """What the first bytes of a connection must show. ``TLS``: a ClientHello with the name; ``HEAD``: an HTTP request
    for it; ``WATCH``: nothing, but a ClientHello that names another host is refused; ``NOTHING``."""
    if rule.cidr or rule.sni == "any":
        return NOTHING
    if rule.sni == "required" or port == _HTTPS:
        return TLS
    return HEAD if port == _HTTP else WATCH
