"""Callbacks for changes, so that followers need not poll.

Used on the thread of the event loop only. A notification carries no data: the callback looks.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class ChangeNotifier:
    """Callbacks by topic, which is the id of what they wait for."""

    def __init__(self) -> None:
        self._callbacks: dict[str, set[Callable[[], None]]] = {}

    def notify(self, topic: str) -> None:
        """Calls every callback of the topic."""
        for callback in list(self._callbacks.get(topic, ())):
            callback()

    @contextmanager
    def listening(self, topic: str, callback: Callable[[], None]) -> Iterator[None]:
        """During the block, `callback` is called when the topic has changed or is gone. It must
        not raise."""
        callbacks = self._callbacks.setdefault(topic, set())
        callbacks.add(callback)
        try:
            yield
        finally:
            callbacks.discard(callback)
            if not callbacks:
                self._callbacks.pop(topic, None)
