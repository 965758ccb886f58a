"""Corrects restored builds that were made at another path.

The environments are corrected (`builder.relocate`). Then all files of a build are searched for the
old paths. A build with a file that still names one is removed: the gateway makes it again, from its
snapshot and its lock. No gateway runs on the folder meanwhile, and its database is not there yet.
"""

from collections.abc import Mapping
from functools import partial

import trio

import builder
from builder import BuildStore, EnvironmentStore, Manifest
from gateway.data_folder import DataFolder


async def move_builds(
    old_root: str, data: DataFolder, manifests: Mapping[str, Manifest]
) -> dict[str, str]:
    """Returns the builds that cannot work at their new path, each with the reason. Raises
    OSError."""
    environments = EnvironmentStore(data.environments)
    builds = BuildStore(data.builds, environments)
    broken: dict[str, str] = {}
    named = sorted({manifest.environment for manifest in manifests.values()} - {""})
    for name in named:
        virtualenv = environments.virtualenv(name)
        old = f"{old_root}/environments/{name}/environment"
        try:
            await trio.to_thread.run_sync(builder.relocate, virtualenv, old)
        except OSError as error:
            broken[name] = f"its environment cannot be moved: {error.strerror or error}"
    to_rebuild: dict[str, str] = {}
    for build, manifest in manifests.items():
        why = broken.get(manifest.environment, "")
        if why := why or await _why(old_root, builds, build, manifest):
            to_rebuild[build] = why
            await builds.remove(build)  # and its environment, unless another build has it
    return to_rebuild


async def _why(old_root: str, builds: BuildStore, build: str, manifest: Manifest) -> str:
    """Why a build does not work at its new path; "" if it does."""
    if not manifest.environment:
        return f"it was made at {old_root}"
    find = partial(
        builder.find_path_reference,
        code=builds.code(build),
        virtualenv=builds.environments.virtualenv(manifest.environment),
    )
    try:
        for path in (f"environments/{manifest.environment}", f"builds/{build}"):
            if named := await trio.to_thread.run_sync(find, f"{old_root}/{path}"):
                return f"it was made at {old_root}, which {named} names"
    except OSError as error:
        return f"its files cannot be read: {error.strerror or error}"
    return ""
