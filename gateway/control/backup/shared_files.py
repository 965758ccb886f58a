"""Links equal files of restored builds and environments again: an archive has each of them whole.

Each project gets a store of its own, which is right at every isolation level. A file that cannot be
linked stays as it is. No gateway runs on the folder meanwhile, and all is synced before the
database makes the folder usable.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import builder
from builder import BuildStore, EnvironmentStore, Manifest
from gateway.control.backup.layout import is_id
from gateway.data_folder import DataFolder


def share_files(data: DataFolder, manifests: Mapping[str, Manifest]) -> None:
    """Links the files of these builds and of their environments. Blocking."""
    environments = EnvironmentStore(data.environments)
    builds = BuildStore(data.builds, environments)
    folders: dict[Path, str] = {}
    for build, manifest in manifests.items():
        environment = environments.sealed(manifest.environment)
        if environment and is_id(environment.project):  # the backup is not trusted
            name = manifest.environment
            for folder in (environments.virtualenv(name), environments.files(name)):
                folders[folder] = environment.project
            folders[builds.code(build)] = environment.project
    for folder, project in folders.items():
        with suppress(OSError):
            store = data.shared_files / project
            builder.add_to_store(builder.link_files(folder, store), store)
