"""What a gateway that was killed in the midst of a deletion left on the disk, taken away at boot.

Everything of a project, model, build or experiment lies in a folder or file named by its id, but
for snapshots: they are in the store of their project, by these ids too. What bears the id of
nothing that is remembered is nobody's.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import aiosqlite
import trio

import store
from builder import drop_snapshot, remove_tree, snapshots_in
from gateway.control.house import House
from gateway.control.logs import keep_latest


async def sweep(house: House) -> None:
    """Removes what belongs to no row. `Shelf.sweep` does the same, and more, for builds."""
    known = await house.database.read(ids)
    for folder in house.data.named_by_id:
        await trio.to_thread.run_sync(_remove_strangers, folder, known)
    for project in await house.database.read(store.projects.listing):
        snapshots = house.data.snapshots(project.id)
        for name in await trio.to_thread.run_sync(snapshots_in, snapshots):
            if name not in known:
                house.tasks.start(drop_snapshot, snapshots, name)  # git takes its time
    await trio.to_thread.run_sync(keep_latest, house.data.examiner_logs)


async def ids(connection: aiosqlite.Connection) -> set[str]:
    """The ids of all projects, models, builds and experiments, and of what those run in."""
    projects = await store.projects.listing(connection)
    models = await store.models.listing(connection)
    builds = [b for m in models for b in await store.builds.listing(connection, m.id)]
    experiments = await store.experiments.listing(connection)
    environments = {each.environment_id for each in experiments}
    return {record.id for record in (*projects, *models, *builds, *experiments)} | environments


def named_strangers(entries: Iterable[Path], known: set[str]) -> list[Path]:
    """Those that bear none of the ids: "<id>", "<id>.git", "<id>.log" and "<id>.log.1" do."""
    return [entry for entry in entries if entry.name.partition(".")[0] not in known]


def remove(entry: Path) -> None:
    """Takes away a file, a link or a folder; no matter if it is gone. Blocking."""
    if entry.is_dir() and not entry.is_symlink():
        with suppress(OSError):  # what stays is found by the next sweep
            remove_tree(entry)
    else:
        entry.unlink(missing_ok=True)


def _remove_strangers(folder: Path, known: set[str]) -> None:
    for entry in named_strangers(folder.iterdir() if folder.is_dir() else (), known):
        remove(entry)
