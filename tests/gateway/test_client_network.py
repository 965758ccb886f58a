"""Which addresses count as one client."""

import pytest

from gateway.client_network import LOOPBACK, network_of


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("127.0.0.1", LOOPBACK),
        ("127.255.0.9", LOOPBACK),
        ("::ffff:127.0.0.9", LOOPBACK),
        ("::1", LOOPBACK),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("somewhere", "somewhere"),
        ("", ""),
    ],
)
def test_addresses_that_one_client_can_choose_among_are_one_network(
    address: str, network: str
) -> None:
    """An IPv4 address is itself, loopback is one network, and IPv6 counts by /64."""
    assert network_of(address) == network
