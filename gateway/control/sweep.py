"""What a gateway that was killed in the midst of a deletion left on the disk, taken away at boot.

Everything of a project, model or build lies in a folder or file named by its id. What bears the id
of nothing that is remembered is nobody's.
"""

import shutil
from pathlib import Path

import aiosqlite
import trio

import store
from gateway.control.house import House
from gateway.control.logs import keep_latest


async def sweep(house: House) -> None:
    """Removes what belongs to no row. `Shelf.sweep` does the same, and more, for builds."""
    ids = await house.database.read(_ids)
    for folder in house.data.named_by_id:
        await trio.to_thread.run_sync(_remove_strangers, folder, ids)
    await trio.to_thread.run_sync(keep_latest, house.data.examiner_logs)


async def _ids(connection: aiosqlite.Connection) -> set[str]:
    projects = await store.projects.listing(connection)
    models = await store.models.listing(connection)
    builds = [b for m in models for b in await store.builds.listing(connection, m.id)]
    return {record.id for record in (*projects, *models, *builds)}


def _remove_strangers(folder: Path, ids: set[str]) -> None:
    for entry in folder.iterdir() if folder.is_dir() else ():
        # "<id>", "<id>.git", "<id>.log" and "<id>.log.1"
        if entry.name.partition(".")[0] in ids:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
