"""The folder that has the builds, each under its id (`sealed_folders.py`).

A build has the project's files. The environment that it runs in is beside it, shared by all builds
that need the same one (`reuse/environment_store.py`). A build whose environment is missing or
damaged is not sealed.
"""

from contextlib import suppress
from pathlib import Path

import trio
from msgspec import Struct

from builder.files.fsync import sync_folder
from builder.interpreters import Language
from builder.reuse.environment_store import EnvironmentStore, has_interpreters
from builder.sealed_folders import SealedFolders

_ASIDE = ".aside"


class Manifest(Struct, frozen=True, kw_only=True):
    """What a sealed build was made from, and when.

    `environment` is the id of its environment; "" for a build that has one in its own folder, as
    all builds had before environments were shared. `prefix` is the interpreter's folder, which each
    process in the build's environment needs. `home` is the path at which the script saw the
    project: absolute paths that it wrote lead there. `probed` are the conditions of its probe.
    """

    commit: str
    file: str
    function: str
    model_root: str
    script: str
    environment: str = ""
    interpreter: str
    prefix: str
    home: str
    version: str
    language: Language = "python"
    probed: str = ""
    started_at: str
    sealed_at: str


class BuildStore(SealedFolders[Manifest]):
    """The builds beneath `root`, which run in `environments`."""

    def __init__(self, root: Path, environments: EnvironmentStore) -> None:
        super().__init__(root, Manifest)
        self.environments = environments

    def sealed(self, name: str) -> Manifest | None:
        """Return the manifest of a sealed build, or None where the build or its environment is
        unfinished, missing or damaged."""
        manifest = super().sealed(name)
        if manifest and manifest.environment and not self._has_environment(manifest):
            return None
        return manifest

    def _has_environment(self, manifest: Manifest) -> bool:
        return self.environments.sealed(manifest.environment) is not None

    def code(self, build: str) -> Path:
        """Return the folder of a build's files."""
        return self.folder(build) / "code"

    def environment_of(self, build: str) -> str:
        """Return the id of a sealed build's environment; "" for one in the build's own folder."""
        manifest = super().sealed(build)
        return manifest.environment if manifest else ""

    def virtualenv(self, build: str) -> Path:
        """Return the folder of the Python that a build runs in. Its manifest says which."""
        if name := self.environment_of(build):
            return self.environments.virtualenv(name)
        return self.folder(build) / "environment"

    def has_interpreter(self, build: str) -> bool:
        """Whether the interpreters of a build's environment still exist."""
        return has_interpreters(self.virtualenv(build))

    def prefix(self, build: str) -> Path | None:
        """Return the folder of a sealed build's interpreter, from its manifest: the build's own
        files may have been changed by its script."""
        manifest = self.sealed(build)
        return Path(manifest.prefix) if manifest else None

    def language(self, build: str) -> Language:
        """Return the language of a sealed build's interpreter."""
        manifest = self.sealed(build)
        return manifest.language if manifest else "python"

    def environments_by_build(self) -> dict[str, str]:
        """Return the id of the environment of each build that names one, also of those that are set
        aside. Blocking."""
        named = {name: self.environment_of(name) for name in self.names()}
        return {build: environment for build, environment in named.items() if environment}

    def _environments_in_use(self) -> set[str]:
        return set(self.environments_by_build().values())

    async def remove_files(self, name: str) -> None:
        """Remove a build, if it exists. Its environment stays."""
        await super().remove(name)

    async def remove(self, name: str) -> None:
        """Remove a build, if it exists, and its environment where nothing else needs it."""
        environment = self.environment_of(name)
        await super().remove(name)
        if environment:
            await self.remove_environment(environment)

    async def remove_environment(self, environment: str) -> bool:
        """Remove an environment unless something needs it. Return whether it did."""
        return await self.environments.remove_unused(environment, self._environments_in_use)

    async def park(self, build: str) -> None:
        """Move a build aside before it is rebuilt; `unpark` ends this."""
        await trio.to_thread.run_sync(_rename, self.folder(build), self._aside(build))

    async def unpark(self, build: str) -> None:
        """Restore the build that was set aside, unless the new one is sealed."""
        if self.sealed(build) is not None:
            await self.remove(f"{build}{_ASIDE}")
        elif self._aside(build).exists():
            await self.remove(build)
            await trio.to_thread.run_sync(_rename, self._aside(build), self.folder(build))

    def aside(self) -> list[str]:
        """Return the builds that were still set aside when the gateway ended. Blocking."""
        return [path.name.removesuffix(_ASIDE) for path in self.root.glob(f"*{_ASIDE}")]

    def _aside(self, build: str) -> Path:
        return self.root / f"{build}{_ASIDE}"


def _rename(old: Path, new: Path) -> None:
    """Rename durably, if `old` exists."""
    with suppress(FileNotFoundError):
        old.rename(new)
        sync_folder(old.parent)
