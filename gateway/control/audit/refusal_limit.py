"""Refusals of unknown users: the first few of each address are entered, the others are counted.

Any client can have requests refused as fast as a network carries them, and the audit log is never
shortened. So of each address the first refusals of a window are entered, and the count of the
others when the window ends. The number of addresses is bounded too; beyond it all count as one.
Pure: the clock is passed in.
"""

from collections import Counter

from gateway.client_network import network_of

WINDOW = 600.0  # seconds
PER_ADDRESS = 10  # entries of one address in a window
TOTAL = 200  # entries of all addresses in a window
ADDRESSES = 100  # addresses that are counted apart in a window


class AnonymousRefusalLimiter:
    """Counts refusals by address."""

    def __init__(self, now: float) -> None:
        self.ends = now + WINDOW
        self._seen: Counter[str] = Counter()
        self._entered: Counter[str] = Counter()

    def admit(self, address: str) -> bool:
        """Whether this refusal gets an entry of its own."""
        whose = network_of(address)
        if whose not in self._seen and len(self._seen) >= ADDRESSES:
            whose = ""
        self._seen[whose] += 1
        if self._entered[whose] >= PER_ADDRESS or self._entered.total() >= TOTAL:
            return False
        self._entered[whose] += 1
        return True

    def drain(self, now: float) -> dict[str, int]:
        """The refusals without entries, by address ("": of many); a new window begins."""
        left = self._seen - self._entered
        self._seen.clear()
        self._entered.clear()
        self.ends = now + WINDOW
        return dict(left)
