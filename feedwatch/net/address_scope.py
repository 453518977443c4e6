"""Address scope: how private an address is. Pure.

A redirect is followed only to an address no more private than the one that the operator configured:
a public server must not read our network, or a cloud's metadata, through us.

Decided by a table of our own: what Python's `ipaddress` takes for global or private differs from
one release to the next, even within 3.11.
"""

import socket
from contextlib import suppress
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network


class Scope(IntEnum):
    """Address scopes; each is more private than the one before."""

    PUBLIC = 0
    PRIVATE = 1  # RFC 1918, RFC 6598 (carriers), RFC 4193, and what the IANA lists as not global
    LOOPBACK = 2
    SPECIAL = 3  # link-local, where clouds keep their metadata; unspecified, multicast, reserved


NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: a public one carries an IPv4 address
LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")  # RFC 8215

# The smallest block that holds an address decides. From the IANA's special-purpose registries
# (iana-ipv4-special-registry, iana-ipv6-special-registry), as of October 2025.
BLOCKS = {
    Scope.PUBLIC: [
        "0.0.0.0/0",  # what nothing below says otherwise of
        "192.0.0.9/32",  # anycast: Port Control Protocol, TURN
        "192.0.0.10/32",
        "2000::/3",  # all that is given out as global unicast
        "2001:1::1/128",  # anycast: Port Control Protocol, TURN, DNS-SD
        "2001:1::2/128",
        "2001:1::3/128",
        "2001:3::/32",  # AMT
        "2001:4:112::/48",  # AS112
        "2001:20::/28",  # ORCHIDv2
        "2001:30::/28",  # drones
        "::ffff:0:0/96",  # IPv4-mapped: it is what it carries
        str(NAT64),  # and so is this
    ],
    Scope.PRIVATE: [
        "10.0.0.0/8",
        "100.64.0.0/10",
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocols' own
        "192.0.2.0/24",  # for documentation, as 198.51.100.0/24 and 203.0.113.0/24
        "192.88.99.0/24",  # relays of 6to4, given up
        "192.168.0.0/16",
        "198.18.0.0/15",  # for measurements
        "198.51.100.0/24",
        "203.0.113.0/24",
        str(LOCAL_NAT64),
        "2001::/23",  # protocols' own, Teredo among it
        "2001:db8::/32",  # for documentation, as 3fff::/20
        "3fff::/20",
        "fc00::/7",
        "fec0::/10",  # site-local; RFC 3879 took that back
    ],
    Scope.LOOPBACK: ["127.0.0.0/8", "::1/128"],
    Scope.SPECIAL: [
        "0.0.0.0/8",  # Linux takes its addresses for the machine itself
        "169.254.0.0/16",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/0",  # what is not given out, or for no such use
        # Where clouds answer their machines besides 169.254.0.0/16.
        "100.100.100.200/32",  # Alibaba's
        "168.63.129.16/32",  # Azure's
        "192.0.0.192/32",  # Oracle's
        "fd00:ec2::254/128",  # Amazon's
    ],
}
_SMALLEST_FIRST = sorted(
    ((ip_network(block), scope) for scope, blocks in BLOCKS.items() for block in blocks),
    key=lambda entry: -entry[0].prefixlen,
)


@lru_cache(maxsize=4096)
def address_scope(address: str) -> Scope:
    """Address scope of a numeric address, which may have an IPv6 zone.

    Of an IPv6 address that carries IPv4 addresses it is the most private one among all of theirs,
    since packets may end up at any of them.
    """
    ip = ip_address(address.partition("%")[0])
    ends: list[IPv4Address | IPv6Address | None] = [ip]
    if isinstance(ip, IPv6Address):
        ends += [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if ip in NAT64 or ip in LOCAL_NAT64:
            ends.append(IPv4Address(int(ip) & 0xFFFFFFFF))
    return max(
        next(scope for block, scope in _SMALLEST_FIRST if end in block) for end in ends if end
    )


def host_scope(host: str) -> Scope:
    """Address scope of a URL's host, as far as its name says it; any other name is public."""
    if host.rstrip(".").lower().endswith("localhost"):
        return Scope.LOOPBACK
    with suppress(OSError):  # 127.1, 0x7f000001: what libraries for C take for an address
        host = socket.inet_ntoa(socket.inet_aton(host))
    try:
        return address_scope(host)
    except ValueError:
        return Scope.PUBLIC
