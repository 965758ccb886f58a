"""The builds in which sessions run. Their files stay meanwhile."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import Refusal
from store import Build


class UsedBuilds:
    """Builds in use by sessions, by id."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def __contains__(self, build_id: str) -> bool:
        return self._counts[build_id] > 0

    @contextmanager
    def using(self, build_id: str) -> Iterator[None]:
        """The build is in use during the block."""
        self._counts[build_id] += 1
        try:
            yield
        finally:
            self._counts[build_id] -= 1
            if not self._counts[build_id]:
                del self._counts[build_id]

    def check(self, build: Build) -> None:
        """Raises Refusal where a session runs in the build."""
        if build.id in self:
            raise Refusal("state.conflict", f"build {build.number} is in use by a session")
