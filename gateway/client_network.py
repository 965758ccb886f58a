"""Which addresses count as one client.

One host can choose among many addresses: each of 127/8 leads to this machine, and a host with IPv6
is given a network of 64 bits. A limit per address is therefore a limit per network.
"""

import ipaddress
from functools import lru_cache

# All loopback addresses, of both protocols: a client that uses them is on this machine.
LOOPBACK = "127.0.0.0/8"


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """The network that `address` is counted as: an IPv4 address itself, `LOOPBACK` for any loopback
    address, the /64 of an IPv6 address. What is not an address, such as "", is itself."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if parsed.is_loopback:
        return LOOPBACK
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


@lru_cache(maxsize=4096)
def wider_network_of(network: str) -> str:
    """The /48 around a network of IPv6, which is what a site or a rented machine may be given; ""
    for all others."""
    if not network.endswith("/64"):
        return ""
    return str(ipaddress.ip_network(network).supernet(new_prefix=48))
