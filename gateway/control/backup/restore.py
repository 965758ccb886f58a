"""Creates a data folder from a backup, on any machine, while no gateway runs on the folder.

The whole backup is read and verified before anything is written. Its paths are not trusted: a
table defines where members may be (`layout.py`), they are written without following links
(`extract.py`), and the interpreter of a build is one that was found on this machine.

Environments work only on the kind of machine, and with the Python, that they were made with. At
another path they are corrected (`moved_builds.py`), unless other files name the old path. A build
that cannot be put back is rebuilt from its snapshot and its lock, which are in every backup; the
gateway rebuilds the builds that are to be served. The database is written last and makes the folder
usable (`restore_folder.py`).
"""

import os
import shutil
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import IO

import msgspec
import trio

import builder
import store
from builder import EnvironmentManifest, Interpreter, Manifest, sync_file_system, sync_folder
from gateway.control.backup import layout
from gateway.control.backup.archive import ArchiveDamaged, ArchiveSummary, read_archive
from gateway.control.backup.archive_members import ArchiveMember, Head
from gateway.control.backup.create import machine
from gateway.control.backup.extract import Extraction
from gateway.control.backup.layout import DATABASE, SECRETS
from gateway.control.backup.moved_builds import move_builds
from gateway.control.backup.restore_folder import RestoreRefused, check_empty, filling
from gateway.control.backup.shared_files import share_files
from gateway.control.backup.tar_reader import SHARED
from gateway.data_folder import DataFolder

_RESTORING = "restoring.db"
# The largest seal of a build, in bytes. All seals are kept in memory.
_SEAL = 64 * 1024
_BLOCK = 1024 * 1024
_BUILDS, _ENVIRONMENTS = "builds", "environments"


class RestoredModel(msgspec.Struct, frozen=True, kw_only=True):
    """The build that a model is to serve. `needs_rebuild` says why it must be rebuilt; "" if it was
    put back."""

    project: str
    model: str
    build: int
    needs_rebuild: str


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What was restored. `put_back` and `to_rebuild` count builds, `unlinked` names missing
    folders, `unfinished` says that an earlier restore into the folder did not complete."""

    head: Head
    data: str
    projects: int
    models: int
    put_back: int
    to_rebuild: int
    served: list[RestoredModel]
    unlinked: list[str]
    left_out: list[str]
    unfinished: bool = False


async def restore(backup: Path, target: Path) -> Restored:
    """Creates the data folder `target`, which must be empty or missing.

    Raises ArchiveDamaged, RestoreRefused, StoreError or OSError, and then leaves nothing there.
    """
    known = _Known()
    outline = await trio.to_thread.run_sync(read_archive, backup, known)
    if missing := {DATABASE, *SECRETS} - known.found:
        what = ", ".join(sorted(missing))
        raise RestoreRefused(f"{backup} has no {what} in it", "Take another backup.")
    data = DataFolder(await trio.to_thread.run_sync(target.resolve))
    await trio.to_thread.run_sync(check_empty, data)
    to_rebuild = await _to_rebuild(outline.head, known)
    with filling(data) as unfinished:
        _check_room(data.root, outline)
        omitted = known.without(to_rebuild)
        with_shared = bool(known.manifests.keys() - to_rebuild.keys())
        await trio.to_thread.run_sync(_write_files, backup, data.root, omitted, with_shared)
        await trio.to_thread.run_sync(store.database_copy.check, backup, data.root / _RESTORING)
        if outline.head.root != str(data.root):
            kept = {b: m for b, m in known.manifests.items() if b not in to_rebuild}
            to_rebuild |= await move_builds(outline.head.root, data, kept)
        whole = {b: m for b, m in known.manifests.items() if b not in to_rebuild}
        await trio.to_thread.run_sync(share_files, data, whole)
        restored = await _finish(outline, data, known, to_rebuild)
    return msgspec.structs.replace(restored, unfinished=unfinished)


class _Known:
    """The first reading: keeps only the members that decide how to restore."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.kept: dict[str, bytes] = {}  # the secrets
        self.manifests: dict[str, Manifest] = {}  # by the id of the build
        self.environments: set[str] = set()  # the ids of the sealed ones

    def __call__(self, entry: ArchiveMember, _modified: int, content: IO[bytes] | None) -> None:
        layout.check_place(entry)
        if content is None:
            return
        if entry.name in (DATABASE, *SECRETS):
            if entry.name in self.found:
                raise ValueError(f"{entry.name} comes twice")
            self.found.add(entry.name)
            if entry.name != DATABASE:
                self.kept[entry.name] = _whole(entry, content, layout.SECRET_BYTES)
        elif layout.is_store_config(entry.name):
            text = _whole(entry, content, layout.STORE_CONFIG_BYTES)
            layout.check_store_config(entry.name, text)
        elif _is_seal(entry):
            top, name, _ = entry.name.split("/")
            seal = _whole(entry, content, _SEAL)
            if top == _BUILDS:
                self.manifests[name] = msgspec.json.decode(seal, type=Manifest)
            else:
                msgspec.json.decode(seal, type=EnvironmentManifest)
                self.environments.add(name)

    def without(self, to_rebuild: Collection[str]) -> set[str]:
        """The folders in the backup that are not put back: of these builds, and the environments
        that no other build names."""
        kept = {m.environment for build, m in self.manifests.items() if build not in to_rebuild}
        builds = {f"{_BUILDS}/{build}" for build in to_rebuild}
        return builds | {f"{_ENVIRONMENTS}/{name}" for name in self.environments - kept}


def _is_seal(entry: ArchiveMember) -> bool:
    folder = _sealed_folder(entry)
    return bool(folder) and entry.name == f"{folder}/{builder.SEAL}"


def _sealed_folder(entry: ArchiveMember) -> str:
    """The folder of the build or environment that a member belongs to; "" for none."""
    top, _, rest = entry.name.partition("/")
    return f"{top}/{rest.partition('/')[0]}" if top in (_BUILDS, _ENVIRONMENTS) else ""


def _whole(entry: ArchiveMember, content: IO[bytes], most: int) -> bytes:
    """The bytes of a member. Takes no more memory than there are bytes."""
    if entry.size > most:
        raise ValueError(f"{entry.name} is larger than {most:,} bytes")
    data = bytearray()
    while block := content.read(_BLOCK):
        data += block
    return bytes(data)


def _check_room(root: Path, outline: ArchiveSummary) -> None:
    room = os.statvfs(root)
    free = room.f_bavail * room.f_frsize
    if free < outline.size or (room.f_files and room.f_favail < outline.entries):
        raise RestoreRefused(
            f"{outline.size:,} bytes in {outline.entries:,} entries are to be restored, and there "
            f"is room for {free:,} bytes and {room.f_favail:,} entries at {root}",
            "Make room, or name a folder on another disk with --data.",
        )


async def _to_rebuild(head: Head, known: _Known) -> dict[str, str]:
    """The builds in the backup that cannot work on this machine, each with the reason."""
    manifests = known.manifests
    if head.machine != machine():
        return dict.fromkeys(manifests, f"it was made on another machine ({head.machine})")
    if not manifests:
        return {}
    # The backup is not trusted: only interpreters found on this machine are run and shown.
    found = {str(each.path): each for each in await builder.discover()}
    return {
        build: reason
        for build, m in manifests.items()
        if (reason := _missing(m, known) or _unlike(m, found.get(m.interpreter)))
    }


def _missing(manifest: Manifest, known: _Known) -> str:
    """Why a build is not whole; "" if it is."""
    is_there = not manifest.environment or manifest.environment in known.environments
    return "" if is_there else "its environment is not in the backup"


def _unlike(manifest: Manifest, here: Interpreter | None) -> str:
    """Why an environment would not work with this interpreter; "" if it works."""
    if here is None:
        return f"{manifest.interpreter} is not among the interpreters of this machine"
    # Compiled code works with all patch releases of a minor version.
    if here.version.split(".")[:2] != manifest.version.split(".")[:2]:
        return f"{here.path} is now {here.name} {here.version}, no longer {manifest.version}"
    if str(here.prefix) != manifest.prefix:
        return f"{here.path} now lies in {here.prefix}, no longer in {manifest.prefix}"
    return ""


def _write_files(backup: Path, root: Path, omitted: set[str], with_shared: bool) -> None:
    """Without builds that are put back, nothing needs shared files: `with_shared` is False."""
    with closing(Extraction(root)) as placing:

        def place(entry: ArchiveMember, modified: int, content: IO[bytes] | None) -> None:
            layout.check_place(entry)
            if entry.name in SECRETS or _sealed_folder(entry) in omitted:
                return
            is_shared = entry.kind == "same" or entry.name.startswith(SHARED)
            if is_shared and not with_shared:
                return
            if content is not None and entry.name == DATABASE:
                _write_database(root / _RESTORING, content)
                return
            if content is not None and _is_seal(entry):
                placing.put_last(entry, _whole(entry, content, _SEAL))
            else:
                placing.put(entry, modified, content)

        read_archive(backup, place)
        builder.remove_tree(root / SHARED)
        try:
            placing.finish()
        except ValueError as error:
            raise ArchiveDamaged(f"{backup} is damaged: {error}") from error


def _write_database(path: Path, content: IO[bytes]) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        shutil.copyfileobj(content, file, _BLOCK)
        file.flush()
        os.fsync(file.fileno())


def write_lasting(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Writes a new file, which survives a power cut once this returns."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


async def _finish(
    outline: ArchiveSummary, data: DataFolder, known: _Known, to_rebuild: dict[str, str]
) -> Restored:
    """Writes the keys and, last, the database with its paths corrected."""
    for name in SECRETS:
        write_lasting(data.root / name, known.kept[name])
    path = data.root / _RESTORING
    async with store.open_database(path) as database:
        await database.write(store.projects.relocate, outline.head.root, str(data.root))
        await _check_projects(database, data)
        restored = await _told(database, outline, data, known, to_rebuild)
    # All files must be on the disk before the database that refers to them.
    await trio.to_thread.run_sync(sync_file_system, data.root)
    path.replace(data.database)
    sync_folder(data.root)
    return restored


async def _check_projects(database: store.Database, data: DataFolder) -> None:
    try:
        for each in await database.read(store.projects.list_all):
            layout.check_project_path(data, each.id, each.path, linked=each.linked)
    except ValueError as error:
        raise ArchiveDamaged(f"the database of the backup is damaged: {error}") from error


async def _told(
    database: store.Database,
    outline: ArchiveSummary,
    data: DataFolder,
    known: _Known,
    to_rebuild: dict[str, str],
) -> Restored:
    projects = {p.id: p for p in await database.read(store.projects.list_all)}
    models = {m.id: m for m in await database.read(store.models.list_all)}
    served = []
    for deployment in await database.read(store.deployments.wanted):
        model, build = models[deployment.model_id], deployment.build_id or ""
        missing = "" if build in known.manifests else "its environment is not in the backup"
        served.append(
            RestoredModel(
                project=projects[model.project_id].name,
                model=model.name,
                build=deployment.build_number,
                needs_rebuild=to_rebuild.get(build, missing),
            )
        )
    return Restored(
        head=outline.head,
        data=str(data.root),
        projects=len(projects),
        models=len(models),
        put_back=len(known.manifests) - len(to_rebuild),
        to_rebuild=len(to_rebuild),
        served=served,
        unlinked=[p.path for p in projects.values() if _is_missing(p)],
        left_out=outline.left_out,
    )


def _is_missing(project: store.Project) -> bool:
    return project.linked and not Path(project.path).is_dir()
