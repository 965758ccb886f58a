"""The memory of responses that clients have not read yet.

A response stays whole in memory until its client has read its last byte. Slow clients together
could hold any number of bytes. So when there are too many, the client that holds most loses the
connection that has waited longest, with its response.
"""

from typing import Protocol


class Connection(Protocol):
    flow: str

    def close(self) -> None: ...


class SlowClient(Protocol):
    """A transport with unsent bytes."""

    @property
    def connection(self) -> Connection: ...


class SendBufferLimit:
    """At most `most` bytes, but the client that is written to now is never disconnected."""

    def __init__(self, most: int) -> None:
        self.unsent = 0
        self._most = most
        # By flow, the oldest first.
        self._clients: dict[str, dict[SlowClient, int]] = {}

    def resize(self, most: int) -> None:
        """Applies a new limit, from the next `charge` on."""
        self._most = most

    def charge(self, client: SlowClient, size: int) -> None:
        """Charges `size` unsent bytes to this client; may disconnect slower ones."""
        clients = self._clients.setdefault(client.connection.flow, {})
        clients[client] = clients.get(client, 0) + size
        self.unsent += size
        while self.unsent > self._most and (other := self._eviction_candidate(client)) is not None:
            other.connection.close()
            self.release(other)

    def release(self, client: SlowClient) -> None:
        """The client has read all, or is gone."""
        clients = self._clients.get(client.connection.flow, {})
        self.unsent -= clients.pop(client, 0)
        if not clients:
            self._clients.pop(client.connection.flow, None)

    def _eviction_candidate(self, writing: SlowClient) -> SlowClient | None:
        """Looks at all clients, but only runs when the limit is exceeded."""
        by_weight = sorted(self._clients.values(), key=lambda clients: -sum(clients.values()))
        return next((each for group in by_weight for each in group if each is not writing), None)
