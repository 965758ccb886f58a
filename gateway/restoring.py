"""A data folder from a backup, on this machine or another, while no gateway runs on it.

All of the backup is read and verified before anything is written. Environments work only where they
were made, so each build is asked: same path, same kind of machine, same
Python? Then it is put back as it was. Else it is left to be made anew from its snapshot, which is
in every backup, and the gateway does that for whatever is to be served. The database comes last: a
folder without one was not restored to the end.
"""

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import msgspec
import trio

import builder
import store
from builder import InterpreterUnusable, Manifest, sync_folder
from gateway.archive import Entry, Head, Outline, read_archive
from gateway.control.backup import DATABASE, SECRETS, machine
from gateway.data_folder import DataFolder

_RESTORING = "restoring.db"


class RestoreRefused(Exception):
    """Nothing was changed; `advice` says what to do."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of the build that a model is to serve; `anew` is "" for one put back."""

    project: str
    model: str
    build: int
    anew: str


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What was restored. `put_back` and `anew` count builds, `unlinked` names missing folders."""

    head: Head
    data: str
    projects: int
    models: int
    put_back: int
    anew: int
    served: list[Served]
    unlinked: list[str]
    left_out: list[str]


async def restore(backup: Path, target: Path) -> Restored:
    """Makes the data folder `target`, which must be empty or not be there.

    Raises ArchiveDamaged, RestoreRefused, StoreError or OSError, having left nothing there.
    """
    known = _Known()
    outline = await trio.to_thread.run_sync(read_archive, backup, known)
    if missing := {DATABASE, *SECRETS} - known.kept.keys():
        what = ", ".join(sorted(missing))
        raise RestoreRefused(f"{backup} has no {what} in it", "Take another backup.")
    store.check_image(backup, known.kept[DATABASE])
    data = DataFolder(await trio.to_thread.run_sync(_checked_root, target, outline.size))
    anew = await _to_be_made_anew(outline.head, data, known.manifests)
    was_there = data.root.is_dir()
    with ExitStack() as undo:
        undo.callback(_remove, data.root, was_there)
        with store.lock_data_folder(data.root):
            await trio.to_thread.run_sync(_write_files, backup, data.root, set(anew))
            restored = await _finish(outline, data, known, anew)
        undo.pop_all()
    return restored


class _Known:
    """The first reading: keeps the little that decides, and lets the rest pass."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.manifests: dict[str, Manifest] = {}  # by the id of the build

    def __call__(self, entry: Entry, _modified: int, content: IO[bytes] | None) -> None:
        if content is None:
            return
        if entry.name in (DATABASE, *SECRETS):
            self.kept[entry.name] = content.read(entry.size)
        top, _, rest = entry.name.partition("/")
        build, _, inner = rest.partition("/")
        if top == "builds" and inner == builder.SEAL:
            self.manifests[build] = msgspec.json.decode(content.read(entry.size), type=Manifest)


def _checked_root(target: Path, size: int) -> Path:
    root = target.resolve()
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise RestoreRefused(
            f"{root} is not empty", "Name a folder that is empty or not there with --data."
        )
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    if (free := shutil.disk_usage(there).free) < size:
        raise RestoreRefused(
            f"{size:,} bytes are to be restored and {free:,} are free at {there}",
            "Make room, or name a folder on another disk with --data.",
        )
    return root


async def _to_be_made_anew(
    head: Head, data: DataFolder, manifests: dict[str, Manifest]
) -> dict[str, str]:
    """Of the builds in the backup those that cannot work here, each with the reason."""
    if head.root != str(data.root):
        return dict.fromkeys(manifests, f"it was made at {head.root}")
    if head.machine != machine():
        return dict.fromkeys(manifests, f"it was made on another machine ({head.machine})")
    pythons = {(m.interpreter, m.version) for m in manifests.values()}
    reasons = {python: await _unlike(*python) for python in pythons}
    return {
        build: reason
        for build, m in manifests.items()
        if (reason := reasons[m.interpreter, m.version])
    }


async def _unlike(interpreter: str, version: str) -> str:
    """Why an environment of this interpreter would not work here; "" if it will."""
    try:
        found = await builder.inspect(Path(interpreter))
    except InterpreterUnusable as error:
        return error.problem
    # What is compiled fits all patches of a minor version.
    if found.version.split(".")[:2] != version.split(".")[:2]:
        return f"{interpreter} is now Python {found.version}, no longer {version}"
    return ""


class _Placing:
    """The second reading: puts everything where it belongs, but what is to come last."""

    def __init__(self, root: Path, anew: set[str]) -> None:
        self._root, self._anew = root, anew
        self._folders: list[tuple[Path, int]] = []
        self._links: list[tuple[Path, str]] = []
        self._seals: list[tuple[Path, bytes, int]] = []

    def __call__(self, entry: Entry, modified: int, content: IO[bytes] | None) -> None:
        parts = entry.name.split("/")
        if entry.name in (DATABASE, *SECRETS) or (parts[0] == "builds" and parts[1] in self._anew):
            return
        path = self._root / entry.name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if content is None and entry.kind == "folder":
            path.mkdir(mode=0o700, exist_ok=True)
            self._folders.append((path, entry.mode))
        elif content is None:
            self._links.append((path, entry.fact))
        elif parts[0] == "builds" and parts[2:] == [builder.SEAL]:
            self._seals.append((path, content.read(entry.size), entry.mode))
        else:
            with path.open("xb") as file:
                shutil.copyfileobj(content, file, 1024 * 1024)
                os.fchmod(file.fileno(), entry.mode)
            os.utime(path, (modified, modified))

    def finish(self) -> None:
        """Links, so that nothing is written through one; then, once all is on the disk, seals."""
        for path, target in self._links:
            path.symlink_to(target)
        os.sync()
        for path, seal, mode in self._seals:
            write_lasting(path, seal, mode)
        # The deepest first: one may not let us in any more.
        for path, mode in reversed(self._folders):
            path.chmod(mode)


def _write_files(backup: Path, root: Path, anew: set[str]) -> None:
    placing = _Placing(root, anew)
    read_archive(backup, placing)
    placing.finish()


def write_lasting(path: Path, data: bytes, mode: int = 0o600) -> None:
    """A new file that survives the loss of power once this returns."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


async def _finish(
    outline: Outline, data: DataFolder, known: _Known, anew: dict[str, str]
) -> Restored:
    """The keys and, last of all, the database with its paths put right."""
    for name in SECRETS:
        write_lasting(data.root / name, known.kept[name])
    path = data.root / _RESTORING
    write_lasting(path, known.kept[DATABASE])
    async with store.open_database(path) as database:
        await database.write(store.projects.move, outline.head.root, str(data.root))
        restored = await _told(database, outline, data, known, anew)
    path.replace(data.database)
    sync_folder(data.root)
    return restored


async def _told(
    database: store.Database,
    outline: Outline,
    data: DataFolder,
    known: _Known,
    anew: dict[str, str],
) -> Restored:
    projects = {p.id: p for p in await database.read(store.projects.listing)}
    models = {m.id: m for m in await database.read(store.models.listing)}
    served = []
    for deployment in await database.read(store.deployments.wanted):
        model, build = models[deployment.model_id], deployment.build_id or ""
        missing = "" if build in known.manifests else "its environment is not in the backup"
        served.append(
            Served(
                project=projects[model.project_id].name,
                model=model.name,
                build=deployment.build_number,
                anew=anew.get(build, missing),
            )
        )
    return Restored(
        head=outline.head,
        data=str(data.root),
        projects=len(projects),
        models=len(models),
        put_back=len(known.manifests) - len(anew),
        anew=len(anew),
        served=served,
        unlinked=[p.path for p in projects.values() if _is_missing(p)],
        left_out=outline.left_out,
    )


def _is_missing(project: store.Project) -> bool:
    return project.linked and not Path(project.path).is_dir()


def _remove(root: Path, was_there: bool) -> None:
    """Leaves nothing of a restore that failed."""
    for entry in root.iterdir() if root.is_dir() else ():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink()
    if not was_there and root.is_dir():
        root.rmdir()
