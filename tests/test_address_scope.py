"""How private an address is."""

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
    ("address", "reach"), [(address, reach) for reach, many in CASES.items() for address in many]
)
def test_every_form_of_an_address_is_seen_through(address: str, reach: Scope) -> None:
    assert address_scope(address) is reach


def test_each_reach_is_more_private_than_the_one_before() -> None:
    assert sorted(Scope) == [Scope.PUBLIC, Scope.PRIVATE, Scope.LOOPBACK, Scope.SPECIAL]
