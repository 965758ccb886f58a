"""The folder that has the environments, each under its id (`sealed_folders.py`).

An environment is a virtual environment with its lock, `pylock.toml`. Builds and experiments of one
project share it. Two projects never do.

It is removed only when no build names it and nothing uses it (`in_use`). A build names its
environment in its seal, on the disk; until then the task that makes the build has the environment
in use. A removal first forbids new uses, and only then reads the seals of the builds. So it sees
each build that was sealed before, and no build is sealed with an environment that is being removed.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trio
from msgspec import Struct

from builder.sealed_folders import SealedFolders

LOCK = "pylock.toml"


class EnvironmentManifest(Struct, frozen=True, kw_only=True):
    """What a sealed environment was made from, and when. `project` is the id of its project."""

    project: str
    interpreter: str
    prefix: str
    home: str
    version: str
    sealed_at: str


class EnvironmentStore(SealedFolders[EnvironmentManifest]):
    """The environments beneath `root`."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, EnvironmentManifest)
        self._uses: Counter[str] = Counter()
        self._removing: set[str] = set()
        self._projects: dict[str, str] = {}  # of the sealed ones that were seen

    def virtualenv(self, name: str) -> Path:
        """Return the folder of the virtual environment."""
        return self.folder(name) / "environment"

    def of_project(self, project: str) -> list[str]:
        """Return the ids of a project's sealed environments. Blocking."""
        names = self.names()
        for name in names:
            if name not in self._projects and (manifest := self.sealed(name)):
                self._projects[name] = manifest.project
        return [name for name in names if self._projects.get(name) == project]

    @contextmanager
    def in_use(self, name: str) -> Iterator[None]:
        """Keep an environment from being removed."""
        self._uses[name] += 1
        try:
            yield
        finally:
            self._uses[name] -= 1
            if not self._uses[name]:
                del self._uses[name]

    def is_being_removed(self, name: str) -> bool:
        """Whether it is too late to use it."""
        return name in self._removing

    def is_free(self, name: str) -> bool:
        """Whether nothing uses it at this moment, and nothing removes it."""
        return name not in self._uses and name not in self._removing

    async def remove_unused(self, name: str, named_by_builds: Callable[[], set[str]]) -> bool:
        """Remove an environment unless it is in use or a build names it. Return whether it did."""
        if not self.is_free(name):
            return False
        self._removing.add(name)
        try:
            if name in await trio.to_thread.run_sync(named_by_builds):
                return False
            await self.remove(name)
            return True
        finally:
            self._removing.discard(name)
