"""How private an address is, so that a feed can't lead us to where its publisher may not go. Pure.

A redirect is followed only to what is no more private than the place the operator configured: a
public server must not read our own network through us, nor a cloud's metadata.
"""

from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network


class Scope(IntEnum):
    """Each is more private than the one before."""

    PUBLIC = 0
    PRIVATE = 1  # RFC 1918, RFC 6598 (carriers), RFC 4193, and what the IANA lists as not global
    LOOPBACK = 2
    SPECIAL = 3  # link-local, where clouds keep their metadata; unspecified, multicast, reserved


# Where clouds answer their machines besides 169.254.0.0/16: Alibaba's, Azure's, Oracle's, Amazon's.
METADATA = {
    ip_address(one) for one in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")
}
THIS_NETWORK = ip_network("0.0.0.0/8")  # Linux takes its addresses for the machine itself
NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: a public one carries an IPv4 address
LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")  # RFC 8215
COMPATIBLE = IPv6Network("::/96")  # RFC 4291, deprecated


def address_scope(address: str) -> Scope:
    """Of a numeric address; an IPv6 address may name its scope."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv4Address):
        return _reach(ip)
    return max([_reach(ip), *(_reach(one) for one in _carried(ip))])


def _carried(ip: IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that packets to `ip` may end up at."""
    if ip.ipv4_mapped is not None:
        return [ip.ipv4_mapped]
    if ip.sixtofour is not None:
        return [ip.sixtofour]
    if ip.teredo is not None:
        return list(ip.teredo)
    if ip in NAT64 or ip in LOCAL_NAT64:
        return [IPv4Address(int(ip) & 0xFFFFFFFF)]
    return []


def _reach(ip: IPv4Address | IPv6Address) -> Scope:
    if ip.is_loopback:
        return Scope.LOOPBACK
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is not None or ip in NAT64:
            return Scope.PUBLIC  # it is what it carries
        if ip in LOCAL_NAT64:
            return Scope.PRIVATE
    if (
        ip.is_unspecified
        or ip.is_multicast
        or ip.is_link_local
        or ip.is_reserved
        or ip in METADATA
        or ip in THIS_NETWORK
        or ip in COMPATIBLE
    ):
        return Scope.SPECIAL
    was_private = isinstance(ip, IPv6Address) and ip.is_site_local  # RFC 3879 took that back
    return Scope.PUBLIC if ip.is_global and not was_private else Scope.PRIVATE
