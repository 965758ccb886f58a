"""The folder that has the environments, each under its id (`sealed_folders.py`).

    environment/  the virtual environment
    files/        what the build script has made or changed in the project (`script_changes.py`)
    inputs        what it was made from, as far as only its script has shown
    pylock.toml   its lock
    sealed        the manifest, with the key by which it is found

Builds and experiments of one project share an environment. Two projects never do.

It is removed only when no build names it and nothing uses it (`in_use`). A build names its
environment in its seal, on the disk; until then the task that makes the build has the environment
in use. A removal first forbids new uses, and only then reads the seals of the builds. So it sees
each build that was sealed before, and no build is sealed with an environment that is being removed.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec
import trio
from msgspec import Struct

from builder.files.small_file import read_small_file
from builder.reuse.environment_key import Reads
from builder.sealed_folders import SEAL, SealedFolders

LOCK, INPUTS = "pylock.toml", "inputs"
MOST_INPUT_BYTES = 8 * 1024 * 1024


class EnvironmentManifest(Struct, frozen=True, kw_only=True):
    """What a sealed environment was made from, and when. `project` is the id of its project. It is
    found by its `key`; with "" it is not used for other builds."""

    project: str
    key: str
    interpreter: str
    prefix: str
    home: str
    version: str
    sealed_at: str


class Inputs(Struct, frozen=True, kw_only=True):
    """What only the run of a script has shown: what it `reads`, and the paths that it has `removed`
    from the project, as `text_of` writes them, deepest first. `requests` are those for packages, as
    the pip wrapper has recorded them, and `fingerprint` what an index gave for them. `repositories`
    are those that R was asked for packages, and `versions` is a hash of what they had."""

    reads: Reads
    removed: list[str]
    requests: msgspec.Raw
    fingerprint: str
    repositories: list[str] = []
    versions: str = ""


def has_interpreters(virtualenv: Path) -> bool:
    """Whether the Python of an environment still exists, and its R if it has one."""
    programs = virtualenv / "bin"
    has_r = not (programs / "Rscript").is_symlink() or os.access(programs / "Rscript", os.X_OK)
    return has_r and os.access(programs / "python", os.X_OK)


class EnvironmentStore(SealedFolders[EnvironmentManifest]):
    """The environments beneath `root`."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, EnvironmentManifest)
        self._uses: Counter[str] = Counter()
        self._removing: set[str] = set()
        self._seen: dict[str, EnvironmentManifest] = {}
        self._locks: WeakValueDictionary[str, trio.Lock] = WeakValueDictionary()

    def virtualenv(self, name: str) -> Path:
        """Return the folder of the virtual environment."""
        return self.folder(name) / "environment"

    def sealed_names(self, project: str = "") -> list[str]:
        """Return the ids of the sealed environments, of all or one project, the last used last.
        Blocking."""
        manifests = self._manifests()
        found = [name for name, each in manifests.items() if project in ("", each.project)]
        return sorted(found, key=self._last_use)

    def of_keys(self, keys: Set[str]) -> list[str]:
        """Return the ids of the sealed environments with one of the keys, the last used first.
        Blocking."""
        wanted = keys - {""}
        found = [name for name, each in self._manifests().items() if each.key in wanted]
        return sorted(found, key=self._last_use, reverse=True)

    def _manifests(self) -> dict[str, EnvironmentManifest]:
        """Those of all sealed environments. A seal is read once: it never changes."""
        for name in (names := self.names()):
            if name not in self._seen and (manifest := self.sealed(name)):
                self._seen[name] = manifest
        for name in self._seen.keys() - names:
            del self._seen[name]
        return dict(self._seen)

    def _last_use(self, name: str) -> int:
        with suppress(OSError):
            return (self.folder(name) / SEAL).stat().st_mtime_ns
        return 0

    def has_interpreter(self, name: str) -> bool:
        """Whether the interpreter of an environment still exists."""
        return has_interpreters(self.virtualenv(name))

    def used_now(self, name: str) -> None:
        """Record that a build or an experiment uses an environment. Blocking. Raises OSError."""
        os.utime(self.folder(name) / SEAL)

    def files(self, name: str) -> Path:
        """Return the folder of what the script has made or changed."""
        return self.folder(name) / "files"

    def inputs(self, name: str) -> Inputs | None:
        """Return the inputs of an environment; None if they cannot be read. Blocking."""
        try:
            text = read_small_file(self.folder(name) / INPUTS, MOST_INPUT_BYTES)
            return msgspec.json.decode(text, type=Inputs)
        except (OSError, ValueError, RecursionError):
            return None

    def lock_text(self, name: str) -> str:
        """Return the text of the lock; "" for an environment without one. Blocking."""
        with suppress(OSError):
            return (self.folder(name) / LOCK).read_text()
        return ""

    def locked(self, equals: str) -> trio.Lock:
        """Return the lock of what equal builds have in common, held while an environment is looked
        for and made: the second of two equal builds waits for the environment of the first."""
        return self._locks.setdefault(equals, trio.Lock())

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
