"""What a confined process sees and may use: its home, network and limits.

With mounts the home of a process is /home/cdsw, in builds as in models. Without mounts (`landlock`,
`none`) a process sees its build where it lies on disk. Absolute paths that a build script wrote
(`pip install -e .`, `ln -s $PWD/...`) name the home of the build:

- A build made without mounts works with them too, since its folder can be mounted at its path.
- A build made with mounts works without them unless one of its files names /home/cdsw; links of the
  project are translated in each working copy. Otherwise it is rebuilt from its snapshot.
"""

from functools import partial
from pathlib import Path

import trio

import builder
from builder import BuildStore
from gateway.control.runtime_settings import RuntimeSettings
from gateway.errors import Refusal
from workers import Limits, Network
from workers.confinement import HOME, Confinement


def build_home(home: Path) -> Path | None:
    """The home of a build as replicas get it; None for HOME, which they see anyway."""
    return None if home == HOME else home


class Sandbox:
    """The view and the limits of confined processes, under the isolation in force."""

    def __init__(
        self, *, confinement: Confinement, settings: RuntimeSettings, build_store: BuildStore
    ) -> None:
        self._confinement = confinement
        self._settings = settings
        self._build_store = build_store

    def check_network(self, network: Network) -> None:
        """Raises Refusal("machine.isolation") if the isolation in force cannot enforce it."""
        if why := self._confinement.missing_for(network):
            raise Refusal("machine.isolation", f"network: {why}")

    def limits(self, memory: int, cpu: int) -> Limits:
        """The limits of one replica: `memory` in bytes, `cpu` in thousandths of a core."""
        now = self._settings.current
        return Limits(memory=memory, cpu=cpu, processes=now.max_processes, disk=now.max_disk)

    def home_of(self, build_id: str) -> Path:
        """The path at which the programs of a running build see its files."""
        return HOME if self._confinement.mounts else self._build_store.code(build_id)

    def file_store(self, stores: Path, project_id: str) -> Path:
        """The store of a project's sealed files. Projects share one only where no process can
        change what it reads: with Landlock alone it can change the modes of files."""
        return stores / ("shared" if self._confinement.mounts else project_id)

    def built_at(self, build_id: str) -> Path | None:
        """The home of a sealed build, as `build_home` gives it."""
        manifest = self._build_store.sealed(build_id)
        return build_home(Path(manifest.home)) if manifest else None

    def may_name_missing_home(self, manifest: builder.Manifest) -> bool:
        """Whether files of the build may name a home that does not exist at this level."""
        return manifest.home == str(HOME) and not self._confinement.mounts

    async def file_naming_missing_home(self, build_id: str) -> str:
        """The first file of a sealed build that names a home that does not exist; "" if none
        does."""
        manifest = self._build_store.sealed(build_id)
        if manifest is None or not self.may_name_missing_home(manifest):
            return ""
        find = partial(
            builder.find_path_reference,
            code=self._build_store.code(build_id),
            virtualenv=self._build_store.virtualenv(build_id),
        )
        return await trio.to_thread.run_sync(find, manifest.home)
