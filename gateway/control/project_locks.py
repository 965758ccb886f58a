"""Who reads and who changes the folder of a project.

One change of a project's files runs at a time: uploads, deletions, files that an experiment gives.
A snapshot does not wait for changes: an upload replaces the whole folder at once, and the snapshot
reads on in the folder that it has opened. So the replaced folder stays until no snapshot that
began before reads it.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio


class ProjectLocks:
    """The locks of all projects, by id. There is one object for each project that is in use."""

    def __init__(self) -> None:
        self._locks: dict[str, trio.Lock] = {}
        self._users = Counter[str]()
        self._readers: dict[str, set[trio.Event]] = {}

    @asynccontextmanager
    async def changing(self, project_id: str) -> AsyncIterator[None]:
        """No other change of the project's files runs during the block."""
        lock = self._locks.setdefault(project_id, trio.Lock())
        self._users[project_id] += 1
        try:
            async with lock:
                yield
        finally:
            self._users[project_id] -= 1
            if not self._users[project_id]:
                del self._users[project_id], self._locks[project_id]

    @contextmanager
    def reading(self, project_id: str) -> Iterator[None]:
        """A folder that is replaced during the block stays until the block ends."""
        ended = trio.Event()
        readers = self._readers.setdefault(project_id, set())
        readers.add(ended)
        try:
            yield
        finally:
            readers.discard(ended)
            ended.set()
            if not readers and self._readers.get(project_id) is readers:
                del self._readers[project_id]

    async def unread(self, project_id: str) -> None:
        """Returns when all who read the project now have ended."""
        for ended in list(self._readers.get(project_id, ())):
            await ended.wait()
