"""How private an address is."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from feedwatch.net.address_scope import Scope, address_scope

CASES = {
    Scope.PUBLIC: [
        "93.184.216.34",
        "1.1.1.1",
        "2606:4700:4700::1111",
        "::ffff:1.1.1.1",
        "64:ff9b::1.1.1.1",
        "2002:101:101::1",
    ],
    Scope.PRIVATE: [
        "10.0.0.1",
        "172.16.5.5",
        "192.168.1.1",
        "100.64.0.1",
        "198.18.0.1",
        "fc00::1",
        "fd12:3456::1",
        "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::1.1.1.1",
        "2002:c0a8:101::1",
        "2001:db8::1",
        "fec0::1",
    ],
    Scope.LOOPBACK: [
        "127.0.0.1",
        "127.8.9.10",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
    Scope.SPECIAL: [
        "169.254.169.254",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "::127.0.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "fe80::1",
        "fe80::1%eth0",
        "ff02::1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "::ffff:0.0.0.0",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
    ],
}


@pytest.mark.parametrize(
    ("address", "scope"), [(address, scope) for scope, many in CASES.items() for address in many]
)
def test_every_form_of_an_address_is_seen_through(address: str, scope: Scope) -> None:
    assert address_scope(address) is scope


# Every block of the IANA's special-purpose registries, and of the other ranges that matter: how
# private it is from its first to its last address, and its neighbours before and after it.
PUBLIC, PRIVATE, LOOPBACK, SPECIAL = Scope
REGISTRY = [
    ("0.0.0.0/8", SPECIAL, None, PUBLIC),
    ("10.0.0.0/8", PRIVATE, PUBLIC, PUBLIC),
    ("100.64.0.0/10", PRIVATE, PUBLIC, PUBLIC),
    ("100.100.100.200/32", SPECIAL, PRIVATE, PRIVATE),
    ("127.0.0.0/8", LOOPBACK, PUBLIC, PUBLIC),
    ("168.63.129.16/32", SPECIAL, PUBLIC, PUBLIC),
    ("169.254.0.0/16", SPECIAL, PUBLIC, PUBLIC),
    ("172.16.0.0/12", PRIVATE, PUBLIC, PUBLIC),
    ("192.0.0.0/24", PRIVATE, PUBLIC, PUBLIC),
    ("192.0.0.0/29", PRIVATE, PUBLIC, PRIVATE),
    ("192.0.0.8/32", PRIVATE, PRIVATE, PUBLIC),
    ("192.0.0.9/32", PUBLIC, PRIVATE, PUBLIC),
    ("192.0.0.10/32", PUBLIC, PUBLIC, PRIVATE),
    ("192.0.0.170/31", PRIVATE, PRIVATE, PRIVATE),
    ("192.0.0.192/32", SPECIAL, PRIVATE, PRIVATE),
    ("192.0.2.0/24", PRIVATE, PUBLIC, PUBLIC),
    ("192.31.196.0/24", PUBLIC, PUBLIC, PUBLIC),
    ("192.52.193.0/24", PUBLIC, PUBLIC, PUBLIC),
    ("192.88.99.0/24", PRIVATE, PUBLIC, PUBLIC),
    ("192.168.0.0/16", PRIVATE, PUBLIC, PUBLIC),
    ("192.175.48.0/24", PUBLIC, PUBLIC, PUBLIC),
    ("198.18.0.0/15", PRIVATE, PUBLIC, PUBLIC),
    ("198.51.100.0/24", PRIVATE, PUBLIC, PUBLIC),
    ("203.0.113.0/24", PRIVATE, PUBLIC, PUBLIC),
    ("224.0.0.0/4", SPECIAL, PUBLIC, SPECIAL),
    ("240.0.0.0/4", SPECIAL, SPECIAL, None),
    ("255.255.255.255/32", SPECIAL, SPECIAL, None),
    ("::/128", SPECIAL, None, LOOPBACK),
    ("::1/128", LOOPBACK, SPECIAL, SPECIAL),
    ("::/96", SPECIAL, None, SPECIAL),
    ("::ffff:0:0/96", SPECIAL, SPECIAL, SPECIAL),  # at its ends: 0.0.0.0 and 255.255.255.255
    ("::ffff:1.0.0.0/104", PUBLIC, SPECIAL, PUBLIC),
    ("::ffff:10.0.0.0/104", PRIVATE, PUBLIC, PUBLIC),
    ("::ffff:127.0.0.0/104", LOOPBACK, PUBLIC, PUBLIC),
    ("64:ff9b::/96", SPECIAL, SPECIAL, SPECIAL),  # the same
    ("64:ff9b::1.0.0.0/104", PUBLIC, SPECIAL, PUBLIC),
    ("64:ff9b::10.0.0.0/104", PRIVATE, PUBLIC, PUBLIC),
    ("64:ff9b:1::/48", SPECIAL, SPECIAL, SPECIAL),  # the same
    ("64:ff9b:1::1.0.0.0/104", PRIVATE, SPECIAL, PRIVATE),
    ("100::/64", SPECIAL, SPECIAL, SPECIAL),
    ("100:0:0:1::/64", SPECIAL, SPECIAL, SPECIAL),
    ("2000::/4", PUBLIC, SPECIAL, PUBLIC),
    ("2001::/32", SPECIAL, PUBLIC, PRIVATE),  # Teredo by 0.0.0.0, and to 0.0.0.0
    ("2001:0:101:101:0:0:fe00:0/104", PRIVATE, PRIVATE, SPECIAL),  # by 1.1.1.1 to 1.0.0.0/8
    ("2001:1::1/128", PUBLIC, PRIVATE, PUBLIC),
    ("2001:1::2/128", PUBLIC, PUBLIC, PUBLIC),
    ("2001:1::3/128", PUBLIC, PUBLIC, PRIVATE),
    ("2001:2::/48", PRIVATE, PRIVATE, PRIVATE),
    ("2001:3::/32", PUBLIC, PRIVATE, PRIVATE),
    ("2001:4:112::/48", PUBLIC, PRIVATE, PRIVATE),
    ("2001:10::/28", PRIVATE, PRIVATE, PUBLIC),
    ("2001:20::/28", PUBLIC, PRIVATE, PUBLIC),
    ("2001:30::/28", PUBLIC, PUBLIC, PRIVATE),
    ("2001:100::/24", PRIVATE, PRIVATE, PUBLIC),  # where 2001::/23 ends
    ("2001:db8::/32", PRIVATE, PUBLIC, PUBLIC),
    ("2002::/16", SPECIAL, PUBLIC, PUBLIC),  # at its ends: 0.0.0.0 and 255.255.255.255
    ("2002:100::/24", PUBLIC, SPECIAL, PUBLIC),
    ("2002:a00::/24", PRIVATE, PUBLIC, PUBLIC),
    ("2002:7f00::/24", LOOPBACK, PUBLIC, PUBLIC),
    ("2620:4f:8000::/48", PUBLIC, PUBLIC, PUBLIC),
    ("3fff::/20", PRIVATE, PUBLIC, PUBLIC),
    ("3000::/4", PUBLIC, PUBLIC, SPECIAL),
    ("5f00::/16", SPECIAL, SPECIAL, SPECIAL),
    ("fc00::/7", PRIVATE, SPECIAL, SPECIAL),
    ("fd00:ec2::254/128", SPECIAL, PRIVATE, PRIVATE),
    ("fe80::/10", SPECIAL, SPECIAL, PRIVATE),
    ("fec0::/10", PRIVATE, SPECIAL, SPECIAL),
    ("ff00::/8", SPECIAL, PRIVATE, None),
]


@pytest.mark.parametrize(("block", "within", "before", "after"), REGISTRY)
def test_a_block_reaches_from_its_first_address_to_its_last_on_every_python(
    block: str, within: Scope, before: Scope | None, after: Scope | None
) -> None:
    network = ip_network(block)
    make = IPv4Address if network.version == 4 else IPv6Address
    first, last = int(network[0]), int(network[-1])
    assert address_scope(str(make(first))) is within
    assert address_scope(str(make(last))) is within
    if before is not None:
        assert address_scope(str(make(first - 1))) is before
    if after is not None:
        assert address_scope(str(make(last + 1))) is after


def test_each_reach_is_more_private_than_the_one_before() -> None:
    assert sorted(Scope) == [Scope.PUBLIC, Scope.PRIVATE, Scope.LOOPBACK, Scope.SPECIAL]
