"""/projects/{id}/files: the files of a project. No path leaves its folder, links included."""

import os
import shutil
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import trio
from quart import Response
from werkzeug.datastructures import FileStorage, MultiDict

from builder import make_folder, sync_folder
from gateway.admin.paging import PAGED, page
from gateway.admin.routing import Routing
from gateway.admin.shapes import Json
from gateway.admin.sought import Seeker
from gateway.control import Control
from gateway.errors import Refusal

_CHUNK = 256 * 1024
_NAME_MAX, _PATH_MAX = 255, 4095


def add_routes(routing: Routing, control: Control) -> None:
    seek = Seeker(control)

    async def inside(project_id: str, path: str) -> Path:
        project = await seek.project(project_id)
        return await trio.to_thread.run_sync(resolve, Path(project.path), path)

    async def index(project_id: str, path: str = "") -> Json:
        project = await seek.project(project_id)
        folder = await inside(project_id, path)
        return page("files", await trio.to_thread.run_sync(_list, Path(project.path), folder))

    async def show(project_id: str, path: str) -> Json | Response:
        if path.endswith(":download"):
            return await _download(await inside(project_id, path.removesuffix(":download")))
        return await index(project_id, path)

    async def upload(project_id: str, parts: MultiDict[str, FileStorage]) -> Json:
        if not parts:
            raise Refusal("argument.invalid", "send each file as a form field named by its path")
        await control.house.disk.admit("an upload")
        targets = [(await inside(project_id, name), part) for name, part in parts.items(multi=True)]
        for target, part in targets:
            await trio.to_thread.run_sync(save, part.stream, target)
        return {}

    async def delete(project_id: str, path: str) -> Json:
        target = await inside(project_id, path)
        project = await seek.project(project_id)
        await trio.to_thread.run_sync(_remove, Path(project.path), target)
        return {}

    files = "/projects/<project_id>/files"
    routing.add("GET", files, "project.view", "the files at the project's root", index, query=PAGED)
    routing.add(
        "PUT",
        files,
        "project.edit",
        "upload files: form fields named by target path",
        upload,
        MultiDict,
        most="upload_limit",
        action="file.upload",
    )
    routing.add(
        "GET",
        f"{files}/<path:path>",
        "project.view",
        "a folder's files; `:download` for one",
        show,
        query=PAGED,
        gives=("application/json", "application/octet-stream"),
        streams=True,
    )
    routing.add(
        "DELETE",
        f"{files}/<path:path>",
        "project.edit",
        "delete a file or folder",
        delete,
        action="file.delete",
    )


def resolve(root: Path, path: str) -> Path:
    """`path` below `root`. Raises Refusal("path.refused") where it, or a link in it, leads out."""
    root = root.resolve()
    parts = Path(path).parts
    if path.startswith("/") or ".." in parts or "\0" in path:
        raise Refusal("path.refused", f"{path!r} is not inside the project")
    length = len(os.fsencode(root / path))
    if length > _PATH_MAX or any(len(os.fsencode(part)) > _NAME_MAX for part in parts):
        raise Refusal("path.refused", f"{path!r} has a name that is too long")
    try:
        parent = (root / path).parent.resolve()
    except (OSError, RuntimeError) as error:  # a link to itself
        raise Refusal("path.refused", f"{path!r}: {error}") from error
    if parts and not parent.is_relative_to(root):
        raise Refusal("path.refused", f"{path!r} leads out of the project")
    return parent / parts[-1] if parts else root


def _list(root: Path, folder: Path) -> list[Json]:
    if not folder.is_dir():
        raise Refusal("file.notfound", f"there is no folder {folder.name!r}")
    if not folder.resolve().is_relative_to(root.resolve()):
        raise Refusal("path.refused", f"{folder.name!r} leads out of the project")
    where = folder.resolve().relative_to(root.resolve())
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    return [describe(where, entry) for entry in entries]


def describe(where: Path, entry: os.DirEntry[str]) -> Json:
    """An entry of the folder that `where` is, seen from its root."""
    facts = entry.stat(follow_symlinks=False)
    changed = datetime.fromtimestamp(facts.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "path": str(where / entry.name),
        "is_dir": entry.is_dir(follow_symlinks=False),
        "file_size": str(facts.st_size),
        "last_modified": changed,
    }


async def _download(path: Path) -> Response:
    def read() -> bytes:
        if not path.is_file() or path.is_symlink():
            raise Refusal("file.notfound", f"there is no file {path.name!r}")
        return path.read_bytes()

    content = await trio.to_thread.run_sync(read)
    return Response(content, content_type="application/octet-stream")


def save(stream: IO[bytes], target: Path) -> None:
    """Written beside its place and renamed, so that a snapshot never sees half of it."""
    if target.is_dir() and not target.is_symlink():
        raise Refusal("path.refused", f"{target.name!r} is a folder")
    try:
        make_folder(target.parent)
        fd, fresh = tempfile.mkstemp(prefix=".uploading-", dir=target.parent)
    except (FileExistsError, NotADirectoryError) as error:
        raise Refusal("path.refused", f"{target.parent.name!r} is not a folder") from error
    try:
        with open(fd, "wb") as file:
            shutil.copyfileobj(stream, file, _CHUNK)
            file.flush()
            os.fsync(fd)
        os.chmod(fresh, 0o644)
        os.replace(fresh, target)
        sync_folder(target.parent)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(fresh)


def _remove(root: Path, target: Path) -> None:
    if target == root.resolve():
        raise Refusal("path.refused", "name a file or folder of the project, not all of it")
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    elif os.path.lexists(target):
        target.unlink()
    else:
        raise Refusal("file.notfound", f"there is no {target.name!r}")
    sync_folder(target.parent)
