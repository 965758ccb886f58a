"""Room that clients share: places for connections, or bytes of memory.

A client gets more while it then holds no more than is free. So one client gets half of all, the
next half of the rest, and the last places are for those who hold least. A client is what
`networks.network_of` takes for one; with IPv6, where many of these are easily had, the /48 around
it counts as one as well. Pure, and without a loop over all.
"""

from collections import Counter

from gateway.client_network import wider_network_of


class FairShares:
    """`most` is the total, `free` is what no client holds."""

    def __init__(self, most: int) -> None:
        self.most = self.free = most
        self._held: Counter[str] = Counter()

    def resize(self, most: int) -> None:
        """Changes the total. A client that has room keeps it."""
        self.free += most - self.most
        self.most = most

    def held(self, who: str) -> int:
        return self._held[who]

    def take(self, who: str, size: int) -> bool:
        """Whether there was room for so much more."""
        wider = wider_network_of(who)
        if max(self._held[who], self._held[wider] if wider else 0) + size > self.free:
            return False
        self.free -= size
        self._held[who] += size
        if wider:
            self._held[wider] += size
        return True

    def give(self, who: str, size: int) -> None:
        """What was taken is free again."""
        self.free += size
        wider = wider_network_of(who)
        # A client that was gone before it was looked at has no network: it is "".
        for each in (who, wider) if wider else (who,):
            self._held[each] -= size
            if not self._held[each]:
                del self._held[each]
