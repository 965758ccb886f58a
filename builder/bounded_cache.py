"""What was found out and cannot change, kept in memory within a bound. For several threads."""

from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """Its values weigh `most` together; those that were used last stay."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[K, tuple[V, int]] = {}
        self._weight = 0
        self._lock = Lock()

    def get(self, key: K) -> V | None:
        with self._lock:
            found = self._kept.pop(key, None)
            if found is None:
                return None
            self._kept[key] = found
            return found[0]

    def put(self, key: K, value: V, weight: int = 1) -> None:
        """Keeps a value, unless it weighs more than a quarter of the bound."""
        with self._lock:
            if key in self._kept or weight > self._most // 4:
                return
            self._kept[key] = value, weight
            self._weight += weight
            while self._weight > self._most:
                _, oldest = self._kept.pop(next(iter(self._kept)))
                self._weight -= oldest
