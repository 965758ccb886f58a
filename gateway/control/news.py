"""Who is told when something has changed, instead of asking now and then whether it has.

For the thread of the loop. What has changed is not said: who is told looks.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class ChangeNotifier:
    """Listeners by the id of what they wait for."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[Callable[[], None]]] = {}

    def tell(self, what: str) -> None:
        """Calls all who listen for `what`."""
        for tell in list(self._listeners.get(what, ())):
            tell()

    @contextmanager
    def listening(self, what: str, tell: Callable[[], None]) -> Iterator[None]:
        """Inside, `tell` is called when `what` has changed, or is gone. It must not raise."""
        listeners = self._listeners.setdefault(what, set())
        listeners.add(tell)
        try:
            yield
        finally:
            listeners.discard(tell)
            if not listeners:
                self._listeners.pop(what, None)
