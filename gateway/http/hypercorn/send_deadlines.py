"""The deadlines of Hypercorn's sends, which Hypercorn shields without one (gotcha G2)."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import trio


class SendDeadlines:
    """The sends under way, so that the end of the gateway can bound all of them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._scopes: set[trio.CancelScope] = set()
        self._latest = math.inf

    @contextmanager
    def one(self) -> Iterator[None]:
        """Inside, a send that cannot be cancelled but has a deadline."""
        due = min(trio.current_time() + self._seconds, self._latest)
        with trio.CancelScope(deadline=due, shield=True) as scope:
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)

    def end_by(self, latest: float) -> None:
        self._latest = latest
        for scope in self._scopes:
            scope.deadline = min(scope.deadline, latest)
