"""The network to which a client's address belongs for limits.

One host can use many addresses: all of 127/8 are this machine, and a host with IPv6 has a network
of 64 bits. So a limit per address is applied per network.
"""

import ipaddress
from functools import lru_cache

# All loopback addresses of both protocols: clients on this machine.
LOOPBACK = "127.0.0.0/8"


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """The network of `address`: the address itself for IPv4, its /64 for IPv6, `LOOPBACK` for any
    loopback address. A text that is not an address, such as "", is returned unchanged."""
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
    """The /48 around an IPv6 network, the size that a site or a rented machine may have; "" for
    other networks."""
    if not network.endswith("/64"):
        return ""
    return str(ipaddress.ip_network(network).supernet(new_prefix=48))
