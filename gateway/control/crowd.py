"""Refusals of people who did not say who they are: how many are entered one by one.

Anybody can have requests refused as fast as a network carries them, and the audit trail is never
shortened. So of each address the first few in a while are entered, the others only counted, and the
count is entered when the while is over. Addresses are bounded too; beyond that all count as one.
Pure: the clock is passed in.
"""

import ipaddress
from collections import Counter

WHILE = 600.0  # seconds
OF_ONE = 10  # entries of one address in a while
OF_ALL = 200  # and of all addresses
ADDRESSES = 100  # those that are told apart in a while


class Crowd:
    """Counts refusals by address."""

    def __init__(self, now: float) -> None:
        self.ends = now + WHILE
        self._seen: Counter[str] = Counter()
        self._entered: Counter[str] = Counter()

    def admit(self, address: str) -> bool:
        """Whether this refusal is to be entered on its own."""
        whose = origin(address)
        if whose not in self._seen and len(self._seen) >= ADDRESSES:
            whose = ""
        self._seen[whose] += 1
        if self._entered[whose] >= OF_ONE or self._entered.total() >= OF_ALL:
            return False
        self._entered[whose] += 1
        return True

    def take(self, now: float) -> dict[str, int]:
        """How many were not entered, by address ("": of many); a new while begins."""
        left = self._seen - self._entered
        self._seen.clear()
        self._entered.clear()
        self.ends = now + WHILE
        return dict(left)


def origin(address: str) -> str:
    """What counts as one address: of IPv6 a network of 64 bits, which is what one host is given."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
