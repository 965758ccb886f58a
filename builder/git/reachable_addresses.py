"""The addresses that a clone may connect to, for users who are not administrators.

A name is looked up once, and git gets the addresses that were found: if git looked the name up
itself, the answer could differ. These users cannot use addresses of this machine or of its link,
where clouds serve the credentials of machines.
"""

import ipaddress
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import psutil
import trio

from builder.git.address import RepositoryAddress

Addresses = set[IPv4Address | IPv6Address]


async def reachable_addresses(
    address: RepositoryAddress, is_refused: Callable[[str, Addresses], bool]
) -> list[str]:
    """Look up the addresses to which a clone may connect. The list is empty where the host is not
    known, or where one of its addresses is refused."""
    try:
        found = await trio.socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
    except (OSError, UnicodeError):
        return []
    texts = list(dict.fromkeys(str(each[4][0]) for each in found))
    own = await trio.to_thread.run_sync(_own)
    return [] if any(is_refused(text, own) for text in texts) else texts


def is_inner(text: str, own: Addresses) -> bool:
    """Whether an address is of this machine or of its link."""
    if "%" in text:  # an interface name: link-local
        return True
    address = ipaddress.ip_address(text)
    if isinstance(address, IPv6Address):
        for embedded in (address.ipv4_mapped, address.sixtofour, _translated(address)):
            if embedded is not None and is_inner(str(embedded), own):
                return True
    return (
        address in own
        or address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address in _METADATA
    )


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Metadata services of some clouds, at addresses that are not link-local.
_METADATA = {ipaddress.ip_address(each) for each in ("fd00:ec2::254", "100.100.100.200")}


def _translated(address: IPv6Address) -> IPv4Address | None:
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def _own() -> Addresses:
    """Return the addresses of this machine."""
    families = (socket.AF_INET, socket.AF_INET6)
    found = [each for some in psutil.net_if_addrs().values() for each in some]
    texts = [each.address.partition("%")[0] for each in found if each.family in families]
    return {ipaddress.ip_address(text) for text in texts}
