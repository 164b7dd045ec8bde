"""The network of an address."""

import pytest

from tubepost.common.mail.network import network_of


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8::1", "2001:db8::/64"),
        # As the kernel writes them: of the longest row of zeros nothing is left, wherever it is.
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("2001::1:2:3:4:5", "2001:0:0:1::/64"),
        ("2001:0:0:1::5", "2001:0:0:1::/64"),
        ("2001::2:3:4:5", "2001::/64"),
        ("::1:2:3:4:5:6:7", "0:1:2:3::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("none:at all", "none:at all"),
        ("", ""),
    ],
)
def test_a_customer_has_a_network_of_ipv6(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.200", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3::/84"),
        ("unknown", "unknown"),
    ],
)
def test_lengths_are_as_they_are_set(address: str, network: str) -> None:
    assert network_of(address, 24, 84) == network
    assert network_of(address, 32, 128) == address
