"""Refusals of people who did not say who they are: how many are entered one by one.

Anybody can have requests refused as fast as a network carries them, and the audit trail is never
shortened. So of each address the first few in a while are entered, the others only counted, and the
count is entered when the while is over. Addresses are bounded too; beyond that all count as one.
Pure: the clock is passed in.
"""

from collections import Counter

from gateway.client_network import network_of

WINDOW = 600.0  # seconds
PER_ADDRESS = 10  # entries of one address in a while
TOTAL = 200  # and of all addresses
ADDRESSES = 100  # those that are told apart in a while


class AnonymousRefusalLimiter:
    """Counts refusals by address."""

    def __init__(self, now: float) -> None:
        self.ends = now + WINDOW
        self._seen: Counter[str] = Counter()
        self._entered: Counter[str] = Counter()

    def admit(self, address: str) -> bool:
        """Whether this refusal is to be entered on its own."""
        whose = network_of(address)
        if whose not in self._seen and len(self._seen) >= ADDRESSES:
            whose = ""
        self._seen[whose] += 1
        if self._entered[whose] >= PER_ADDRESS or self._entered.total() >= TOTAL:
            return False
        self._entered[whose] += 1
        return True

    def drain(self, now: float) -> dict[str, int]:
        """How many were not entered, by address ("": of many); a new while begins."""
        left = self._seen - self._entered
        self._seen.clear()
        self._entered.clear()
        self.ends = now + WINDOW
        return dict(left)
