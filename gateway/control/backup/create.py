"""A backup of everything that a new machine needs, created while the gateway serves.

A backup has the database, the admin key, the snapshots and logs of builds and experiments, the
sealed builds with their environments, the outputs of experiments, and the files of projects that
are not linked. It omits what can be made again (caches, working copies, other environments), the
output of models, and everything outside the data folder (linked folders, certificates, settings).

The backup has every file that the copied rows need: removals are paused before the rows are
copied, sealed builds never change, and snapshots are only added meanwhile. The memory it takes does
not depend on the size of the database: a list of rows and a few blocks of a megabyte. The database
is copied to a temporary file, page by page, while others read and write. This file is then sent at
the client's speed.
"""

import logging
import os
import platform
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import aiosqlite
import msgspec
import trio

import store
from builder import BuildStore
from gateway.background import Tasks
from gateway.control.backup.archive import Writer, writing
from gateway.control.backup.archive_members import Head
from gateway.control.backup.layout import DATABASE, SECRETS, check_place
from gateway.control.disk.removal_queue import RemovalQueue
from gateway.control.disk.temporary_files import TemporaryFiles
from gateway.data_folder import DataFolder
from gateway.errors import Refusal
from gateway.version import version
from store import Build, Database, Experiment, Project

logger = logging.getLogger(__name__)

# Blocks of a megabyte that are buffered between the disk and the client.
_BLOCKS = 4


class _Contents(msgspec.Struct, frozen=True):
    """The rows at one instant."""

    projects: list[Project]
    builds: list[tuple[str, Build]]  # each with the id of its project
    experiments: list[Experiment]


class Backups:
    """Creates one backup at a time."""

    def __init__(
        self,
        *,
        database: Database,
        data: DataFolder,
        build_store: BuildStore,
        temporary_files: TemporaryFiles,
        removal_queue: RemovalQueue,
        tasks: Tasks,
    ) -> None:
        self._database = database
        self._data = data
        self._build_store = build_store
        self._temporary_files = temporary_files
        self._removal_queue = removal_queue
        self._tasks = tasks
        self._busy = False

    async def begin(self) -> AsyncIterator[bytes]:
        """Begins a backup and returns its bytes. Raises Refusal, or StoreFailed."""
        if self._busy:
            raise Refusal("state.conflict", "a backup is being made already")
        self._busy = True
        async with AsyncExitStack() as stack:
            stack.callback(self._end)
            await stack.enter_async_context(self._removal_queue.paused())
            database, temporary = self._database, self._temporary_files
            size = await database.read(store.database_copy.size)
            await trio.to_thread.run_sync(temporary.admit_copy, size, "a copy of the database")
            copy = stack.enter_context(temporary.named())
            contents = await database.read_separately(_contents, copy)
            send, receive = trio.open_memory_channel[bytes](_BLOCKS)
            # The task owns the open files: a generator may be dropped without being run.
            self._tasks.start(self._write, stack.pop_all(), contents, copy, send)
        return _stream(receive)

    def _end(self) -> None:
        self._busy = False

    async def _write(
        self,
        held: AsyncExitStack,
        contents: _Contents,
        copy: Path,
        send: trio.MemorySendChannel[bytes],
    ) -> None:
        async with held, send:
            try:
                await trio.to_thread.run_sync(self._write_all, contents, copy, send)
            except trio.BrokenResourceError:
                logger.info("backup.client_disconnected")
            except OSError:
                logger.exception("backup.failed")  # the archive has no end, which tells the reader

    def _write_all(
        self, contents: _Contents, copy: Path, send: trio.MemorySendChannel[bytes]
    ) -> None:
        data = self._data
        head = Head(
            created_at=store.now(),
            predictd=version(),
            root=str(data.root),
            machine=machine(),
        )
        with (
            self._temporary_files.file() as listed,
            writing(_Stream(send), head, listed, check_place) as archive,
        ):
            archive.add_file(DATABASE, copy)
            for name in SECRETS:
                archive.add_bytes(name, (data.root / name).read_bytes())
            for project in contents.projects:
                _add_project(archive, data, project, contents)
            for _, build in contents.builds:
                _add_log(archive, data, data.build_log(build.id))
                if build.status == "built":
                    _add_sealed(archive, data.builds / build.id, data)
            for name in self._environments(contents):
                _add_sealed(archive, data.environments / name, data)
            for experiment in contents.experiments:
                _add_log(archive, data, data.experiment_log(experiment.id))
                outputs = data.experiment(experiment.id).outputs
                # A running script has incomplete outputs: after a restore it has failed.
                if experiment.ended_at is not None and outputs.is_dir():
                    archive.add_tree(str(outputs.relative_to(data.root)), outputs)

    def _environments(self, contents: _Contents) -> list[str]:
        """The environments of all builds; several builds may run in one."""
        built = [build.id for _, build in contents.builds if build.status == "built"]
        return sorted({self._build_store.environment_of(each) for each in built} - {""})


async def _stream(receive: trio.MemoryReceiveChannel[bytes]) -> AsyncIterator[bytes]:
    async with receive:
        async for data in receive:
            yield data


async def _contents(connection: aiosqlite.Connection, copy: Path) -> _Contents:
    """Returns the rows, and writes the database that has them to `copy`."""
    models = await store.models.list_all(connection)
    listed = [(m.project_id, await store.builds.list_all(connection, m.id)) for m in models]
    builds = [(project_id, build) for project_id, some in listed for build in some]
    projects = await store.projects.list_all(connection)
    experiments = await store.experiments.list_all(connection)
    await store.database_copy.write(connection, copy)
    return _Contents(projects, builds, experiments)


class _Stream:
    """A file that a thread writes to; a write waits until the client has read."""

    def __init__(self, send: trio.MemorySendChannel[bytes]) -> None:
        self._send = send

    def write(self, data: bytes, /) -> None:
        trio.from_thread.run(self._send.send, bytes(data))


def _add_log(archive: Writer, data: DataFolder, log: Path) -> None:
    for path in (log, log.with_name(f"{log.name}.1")):
        archive.add_file(str(path.relative_to(data.root)), path)


def _add_project(archive: Writer, data: DataFolder, project: Project, contents: _Contents) -> None:
    snapshots = data.snapshots(project.id)
    known = {build.id for project_id, build in contents.builds if project_id == project.id}
    known |= {each.id for each in contents.experiments if each.project_id == project.id}
    if snapshots.is_dir():
        name = str(snapshots.relative_to(data.root))
        archive.add_tree(name, snapshots, partial(_of_snapshots, known))
    if project.linked:
        archive.left_out.append(f"{project.path}: the folder of project {project.name!r}, not ours")
    elif (folder := data.projects / project.id).is_dir():
        archive.add_tree(str(folder.relative_to(data.root)), folder)
        record = data.upload_record(project.id)
        archive.add_file(str(record.relative_to(data.root)), record)


def _of_snapshots(known: set[str], inner: str) -> bool:
    """Leaves out files that git is writing now, and snapshots that are not in the rows."""
    name = inner.rpartition("/")[2]
    if inner.startswith("refs/builds/"):
        return name in known
    return not (name.startswith(("tmp_", "links-")) or name.endswith(".lock"))


def _add_sealed(archive: Writer, folder: Path, data: DataFolder) -> None:
    name = str(folder.relative_to(data.root))
    if (unreadable := _unreadable(folder)) is not None:
        archive.left_out.append(f"{name}: {unreadable} cannot be read")
    else:
        archive.add_tree(name, folder, shared=True)


def _unreadable(folder: Path) -> str | None:
    """A path in a build that its script made unreadable; without it the build is incomplete."""
    for here, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(here, name)
            wanted = os.R_OK | os.X_OK if name in folders else os.R_OK
            if not os.path.islink(path) and not os.access(path, wanted):
                return path
    return None


def machine() -> str:
    """The processor and C library, on which an environment with compiled parts depends."""
    return " ".join((platform.machine(), *platform.libc_ver()))
