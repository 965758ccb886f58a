"""A budget that clients share: a number of connections, or of bytes of memory.

A client may take more as long as it then has no more than is free. So one client gets half of the
budget, the next one half of the rest, and the last units are for clients that have least. A client
is a network as `client_network.network_of` gives it. With IPv6, where many of these are easily had,
the /48 around it counts as one client too. Pure, and without a loop over all clients.
"""

from collections import Counter

from gateway.client_network import wider_network_of


class FairShares:
    """`most` is the total; `free` is what no client has taken."""

    def __init__(self, most: int) -> None:
        self.most = self.free = most
        self._taken: Counter[str] = Counter()

    def resize(self, most: int) -> None:
        """Changes the total. Clients keep what they have taken."""
        self.free += most - self.most
        self.most = most

    def taken(self, client: str) -> int:
        return self._taken[client]

    def take(self, client: str, size: int) -> bool:
        """Takes `size`, if the client may have it; returns whether it did."""
        wider = wider_network_of(client)
        if max(self._taken[client], self._taken[wider] if wider else 0) + size > self.free:
            return False
        self.free -= size
        self._taken[client] += size
        if wider:
            self._taken[wider] += size
        return True

    def give(self, client: str, size: int) -> None:
        """Returns what was taken."""
        self.free += size
        wider = wider_network_of(client)
        # A client that disconnected before its address was read is "".
        for each in (client, wider) if wider else (client,):
            self._taken[each] -= size
            if not self._taken[each]:
                del self._taken[each]
