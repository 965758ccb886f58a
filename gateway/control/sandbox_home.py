"""Where the programs of a build see their project, and builds that name a place which is not there.

With mounts that is /home/cdsw, in builds as in models. Without (`landlock`, `none`) a build is made
and read where it lies. Absolute paths that its script wrote (`pip install -e .`, `ln -s $PWD/...`)
name that place. A build made without mounts works with them, since its place can be mounted too.
One made with mounts works without them unless one of its files names /home/cdsw; links of the
project are translated in each working copy. Such a build is made again from its snapshot.
"""

from pathlib import Path

import trio

import builder
from gateway.control.context import ControlContext
from workers.confinement import HOME


def home_of(context: ControlContext, build_id: str) -> Path:
    """Where programs of a build that is made now see its files."""
    return (
        HOME
        if context.workers.confinement.mounts
        else context.build_store.folder(build_id) / "code"
    )


def built(home: Path) -> Path | None:
    """What a replica of a build is told of where that was made; nothing if that was HOME."""
    return None if home == HOME else home


def built_at(context: ControlContext, build_id: str) -> Path | None:
    """As `built`, of a build on the shelf."""
    manifest = context.build_store.sealed(build_id)
    return built(Path(manifest.home)) if manifest else None


def may_name_another(context: ControlContext, manifest: builder.Manifest) -> bool:
    """Whether it has to be looked for a file of the build that names a home which is not there."""
    return manifest.home == str(HOME) and not context.workers.confinement.mounts


async def names_another(context: ControlContext, build_id: str) -> str:
    """The first file of a whole build that names a home which is not there, "" where none does."""
    manifest = context.build_store.sealed(build_id)
    if manifest is None or not may_name_another(context, manifest):
        return ""
    folder = context.build_store.folder(build_id)
    return await trio.to_thread.run_sync(builder.file_that_names, folder, manifest.home)
