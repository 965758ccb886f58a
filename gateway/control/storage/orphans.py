"""What is left on the disk without a row, looked at when the gateway starts.

Everything of a project, model, build or experiment lies in a folder or file named by its id, but
for snapshots: they are in the store of their project, by these ids too.

Law: only what the database says was deleted is removed, and builds that were never finished. What
it does not know may be worth more than the database, which may be an older copy: it is moved to
the trash. The files of a project and its snapshots stay even so, until somebody looks at them. What
cannot be moved or removed stays, is named (`set_aside.py`), and keeps nothing else from being
served. A finished build that is not whole any more is set aside, and made again when it is needed.
"""

import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import aiosqlite
import trio

import store
from builder import drop_snapshot, snapshots_in
from gateway.control.context import ControlContext
from gateway.control.deployments.replica_logs import prune_logs
from gateway.control.disk.removal_queue import remove
from gateway.control.disk.trash import HOURS
from gateway.set_aside import AGAIN, REMOVE

logger = logging.getLogger(__name__)


class Ids(NamedTuple):
    """What the database knows of: `built` are builds that were finished, `environments` is what
    experiments run in, `known` is all that has a row, or is named by one."""

    known: set[str]
    built: set[str]
    environments: set[str]
    deleted: set[str]
    names: dict[str, str]  # of builds, in words


async def sweep(context: ControlContext) -> None:
    """Removes what was deleted, and moves what nothing is known of. Before anything is made."""
    known = await context.database.read(ids)
    for folder in context.data.entity_folders:
        keeps = folder == context.data.projects
        with context.set_aside.item(f"the folder {folder.name}", folder):
            await trio.to_thread.run_sync(_sweep_folder, context, folder, known, keeps)
    with context.set_aside.item("the folder of builds", context.build_store.root):
        await _sweep_builds(context, known)
    context.tasks.start(_end_deletions, context, known.deleted)
    await trio.to_thread.run_sync(prune_logs, context.data.parser_logs, context.set_aside)


async def ids(connection: aiosqlite.Connection) -> Ids:
    """All that the database knows of at this instant."""
    projects = await store.projects.list_all(connection)
    models = await store.models.list_all(connection)
    builds = [b for m in models for b in await store.builds.list_all(connection, m.id)]
    experiments = await store.experiments.list_all(connection)
    environments = {each.environment_id for each in experiments} - {""}
    names = {model.id: model.name for model in models}
    return Ids(
        known={each.id for each in (*projects, *models, *builds, *experiments)} | environments,
        built={each.id for each in builds if each.status == "built"},
        environments=environments,
        deleted=await store.deleted.list_all(connection),
        names={
            build.id: f"build {build.number} of model {names[build.model_id]!r}" for build in builds
        },
    )


def id_of(entry: Path) -> str:
    """The id that a name bears: "<id>", "<id>.git", "<id>.log" and "<id>.log.1" do."""
    return entry.name.partition(".")[0]


def _sweep_folder(context: ControlContext, folder: Path, ids: Ids, keeps: bool) -> None:
    entries = list(folder.iterdir()) if folder.is_dir() else []
    for entry in entries:
        if id_of(entry) in ids.deleted:
            remove(entry, context.set_aside)
    unknown = [entry for entry in entries if id_of(entry) not in ids.known | ids.deleted]
    if not keeps:
        _discard(context, folder, unknown)
    elif unknown:
        text = "%s has files of projects that are not known to the database and stay: %s"
        logger.warning(text, folder, ", ".join(sorted(entry.name for entry in unknown)))


async def _sweep_builds(context: ControlContext, ids: Ids) -> None:
    shelf = context.build_store
    for name in await trio.to_thread.run_sync(shelf.aside):
        with context.set_aside.item(f"build {name}", shelf.folder(name)):
            await shelf.put_back(name)
    names = await trio.to_thread.run_sync(_set_damaged_aside, context, ids)
    kept = ids.built | ids.environments
    left = [name for name in names if name not in kept or shelf.sealed(name) is None]
    # Never finished, or on its way out when an earlier gateway ended.
    ended = [name for name in left if name in ids.deleted | (ids.known - ids.built)]
    for name in ended:
        with context.set_aside.item("a leftover", shelf.folder(name), REMOVE):
            await shelf.remove(name)
    lost = [shelf.folder(name) for name in left if name not in ended]
    await trio.to_thread.run_sync(_discard, context, shelf.root, lost)


def _set_damaged_aside(context: ControlContext, ids: Ids) -> list[str]:
    """Moves builds and environments with a damaged seal away: in their places they are made again.
    One that is known as built has a seal, or lost it; an environment may have been on its way when
    an earlier gateway ended. Returns the names of what is left on the shelf. Blocking."""
    shelf, left = context.build_store, []
    for name in shelf.names():
        problem = shelf.damage(name)
        if name in ids.built and not problem and shelf.sealed(name) is None:
            problem = "its seal is gone"
        if problem and name in ids.built | ids.environments:
            what = ids.names.get(name, f"environment {name}")
            context.set_aside.move(what, shelf.folder(name), problem, AGAIN)
        else:
            left.append(name)
    return left


def _discard(context: ControlContext, folder: Path, entries: Iterable[Path]) -> None:
    moved = []
    for entry in entries:
        with context.set_aside.item("something that the database does not know", entry):
            moved.append(context.trash.put(entry))
    if moved:
        text = "%d entries of %s are not known to the database: moved to the trash (%s, ...), %s"
        after = f"removed after {HOURS} hours of serving"
        logger.warning(text, len(moved), folder, moved[0], after)


async def _end_deletions(context: ControlContext, deleted: set[str]) -> None:
    """Drops the snapshots of what was deleted, which takes git its time; then nothing is left."""
    left: set[str] = set()
    for project in await context.database.read(store.projects.list_all):
        snapshots = context.data.snapshots(project.id)
        with context.set_aside.item(f"the snapshots of project {project.name!r}", snapshots):
            for name in await trio.to_thread.run_sync(snapshots_in, snapshots):
                if name in deleted:
                    await drop_snapshot(snapshots, name)
    for folder in (*context.data.entity_folders, context.data.builds):
        left |= await trio.to_thread.run_sync(_ids_in, folder)
    await trio.to_thread.run_sync(context.set_aside.save)
    with suppress(store.StoreFailed):  # then the next start does
        await context.database.write_if_space(store.deleted.delete, deleted - left)


def _ids_in(folder: Path) -> set[str]:
    return {id_of(entry) for entry in folder.iterdir()} if folder.is_dir() else set()
