"""Answers that clients have not taken yet, and the memory that all of them may hold.

An answer stays whole in memory until its client has taken the last byte of it. A client may need
its time for that, and many of them could hold any number of bytes. So when these are too many, the
client that holds most loses the connection that has waited longest, with its answer.
"""

from typing import Protocol


class Connection(Protocol):
    flow: str

    def close(self) -> None: ...


class SlowClient(Protocol):
    """A client's line."""

    @property
    def connection(self) -> Connection: ...


class SendBufferLimit:
    """At most `most` bytes; only who writes just now is never let go for it."""

    def __init__(self, most: int) -> None:
        self.held = 0
        self._most = most
        # By flow, the first is the oldest.
        self._takers: dict[str, dict[SlowClient, int]] = {}

    def resize(self, most: int) -> None:
        """From now on so many; who holds more is looked at when the next one writes."""
        self._most = most

    def charge(self, taker: SlowClient, size: int) -> None:
        """So many bytes more of an answer wait for this client; others may have to go."""
        takers = self._takers.setdefault(taker.connection.flow, {})
        takers[taker] = takers.get(taker, 0) + size
        self.held += size
        while self.held > self._most and (other := self._eviction_candidate(taker)) is not None:
            other.connection.close()
            self.release(other)

    def release(self, taker: SlowClient) -> None:
        """It has taken all, or is gone."""
        takers = self._takers.get(taker.connection.flow, {})
        self.held -= takers.pop(taker, 0)
        if not takers:
            self._takers.pop(taker.connection.flow, None)

    def _eviction_candidate(self, writing: SlowClient) -> SlowClient | None:
        """Looks at all of them: it is asked in need only."""
        by_weight = sorted(self._takers.values(), key=lambda takers: -sum(takers.values()))
        return next((each for takers in by_weight for each in takers if each is not writing), None)
