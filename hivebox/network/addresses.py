"""Which addresses may be reached through a name alone. The others are somebody's own network, or this host's."""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Range = ipaddress.IPv4Network | ipaddress.IPv6Network

# RFC 6890 and the IANA special-purpose registry. Documentation ranges (RFC 5737) are not here: they lead nowhere, and
# tests need addresses that are nobody's.
_SPECIAL_4 = {
    "0.0.0.0/8": "this host",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared by carrier NAT",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local, where clouds keep credentials",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "protocol assignments",
    "192.88.99.0/24": "6to4 relays",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "the sandbox's own names",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved or broadcast",
}
# IPv6 the other way round: global unicast is 2000::/3, less what is translated or tunnelled to IPv4 or not routed.
_GLOBAL_6 = ipaddress.ip_network("2000::/3")
_SPECIAL_6 = {
    "::/128": "this host",
    "::1/128": "loopback",
    "::ffff:0:0/96": "an IPv4 address in disguise",
    "64:ff9b::/96": "translated to IPv4",
    "64:ff9b:1::/48": "translated to IPv4",
    "fc00::/7": "private",
    "fe80::/10": "link-local",
    "fec0::/10": "site-local",
    "ff00::/8": "multicast",
    "2001::/32": "Teredo, tunnelled to IPv4",
    "2001:2::/48": "the sandbox's own names",
    "2001:10::/28": "not routed",
    "2001:20::/28": "not routed",
    "2002::/16": "6to4, tunnelled to IPv4",
}
_SPECIAL = tuple((ipaddress.ip_network(text), why) for text, why in (*_SPECIAL_4.items(), *_SPECIAL_6.items()))


def special(address: Address) -> str:
    """Why a name may not lead here, or "" where it may."""
    for network, why in _SPECIAL:
        if address in network:
            return why
    return "not a global address" if address.version == 6 and address not in _GLOBAL_6 else ""


def names_special(network: Range) -> bool:
    """Whether a rule's range lies wholly in one that is special: its author means it. 0.0.0.0/0 does not, and so
    opens no private network."""
    if any(network.version == each.version and network.subnet_of(each) for each, _ in _SPECIAL):  # type: ignore[arg-type]
        return True
    return network.version == 6 and not network.overlaps(_GLOBAL_6)
