"""/projects/{id}/files: the files of a project."""

import os
from pathlib import Path

import msgspec
import trio
from quart import Response
from werkzeug.datastructures import FileStorage, MultiDict

from gateway.admin import file_operations
from gateway.admin.lookup import Lookup
from gateway.admin.routing import route
from gateway.admin.routing.downloads import download
from gateway.admin.routing.manifest_uploads import ManifestUpload
from gateway.admin.routing.paging import PAGED, page
from gateway.admin.schemas import Json
from gateway.control import Control
from gateway.errors import Refusal
from gateway.upload_manifest import MOST_BYTES


class FileRoutes:
    def __init__(self, control: Control) -> None:
        self._lookup = Lookup(control)
        self._disk = control.disk
        self._locks = control.project_locks
        self._uploads = control.uploads
        self._usage = control.project_usage

    @route.get(
        "/projects/<project_id>/files",
        "project.view",
        "list the files at the project's root",
        query=PAGED,
    )
    async def list_root(self, project_id: str) -> Json:
        return await self._list(project_id, "")

    @route.put(
        "/projects/<project_id>/files",
        "project.edit",
        "upload files: each form field is named by its target path, or by a folder with `/`",
        max_body="max_upload_size",
        audit="file.upload",
    )
    async def upload(self, project_id: str, body: MultiDict[str, FileStorage]) -> Json:
        if not body:
            raise Refusal("argument.invalid", "send each file as a form field named by its path")
        project = await self._lookup.project(project_id)
        files = [(_target(name, part), part) for name, part in body.items(multi=True)]
        for name, _ in files:
            file_operations.names_of(name)  # all paths are checked before a file is written
        await self._disk.check_free("an upload")
        size = sum(_size(part) for _, part in files)
        await self._usage.admit(project, "an upload", size)
        async with self._locks.changing(project.id):
            for name, part in files:
                await trio.to_thread.run_sync(
                    file_operations.save, part.stream, Path(project.path), name
                )
        self._usage.add(project, size)
        return {}

    @route.post(
        "/projects/<project_id>/files:compare",
        "project.edit",
        "find the files of a manifest that the project does not have",
        max_body=MOST_BYTES,
    )
    async def compare(self, project_id: str, body: ManifestUpload) -> Json:
        project = await self._lookup.project(project_id)
        found = await self._uploads.compare(project, body.received)
        missing = await trio.to_thread.run_sync(_ranges, found.missing)
        return {"missing": missing, "unchanged": found.unchanged}

    @route.put(
        "/projects/<project_id>/files:sync",
        "project.edit",
        "make the uploaded files of a project those of a manifest, all at once",
        max_body="max_upload_size",
        audit="file.sync",
    )
    async def sync(self, project_id: str, body: ManifestUpload) -> Json:
        project = await self._lookup.project(project_id)
        done = await self._uploads.replace(project, body.received)
        return {"files": done.files, "replaced": done.replaced}

    @route.get(
        "/projects/<project_id>/files/<path:path>",
        "project.view",
        "list the files of a folder; download a file with `:download`",
        query=PAGED,
        media_types=("application/json", "application/octet-stream"),
        streams=True,
    )
    async def show(self, project_id: str, path: str) -> Json | Response:
        if path.endswith(":download"):
            root, file = await self._root(project_id), path.removesuffix(":download")
            return await download(lambda: file_operations.opened(root, file), file)
        return await self._list(project_id, path)

    @route.delete(
        "/projects/<project_id>/files/<path:path>",
        "project.edit",
        "delete a file or folder",
        audit="file.delete",
    )
    async def delete(self, project_id: str, path: str) -> Json:
        project = await self._lookup.project(project_id)
        async with self._locks.changing(project.id):
            await trio.to_thread.run_sync(file_operations.remove, Path(project.path), path)
        self._usage.shrank(project)
        return {}

    async def _root(self, project_id: str) -> Path:
        return Path((await self._lookup.project(project_id)).path)

    async def _list(self, project_id: str, path: str) -> Json:
        root = await self._root(project_id)
        return await page(
            "files", await trio.to_thread.run_sync(file_operations.listing, root, path)
        )


def _target(name: str, part: FileStorage) -> str:
    """Where a file goes: in a folder, such as `data/` or `/`, it keeps its name."""
    if not name.endswith("/"):
        return name
    own = (part.filename or "").replace("\\", "/").rpartition("/")[2]
    if not own:
        raise Refusal("argument.invalid", "choose at least one file")
    return f"{name.lstrip('/')}{own}"


def _size(part: FileStorage) -> int:
    at = part.stream.tell()
    size = part.stream.seek(0, os.SEEK_END)
    part.stream.seek(at)
    return size


def _ranges(numbers: list[int]) -> msgspec.Raw:
    """Ascending numbers as JSON text such as `"0-3,7"`. Encoded here, since it may be long."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    shown = (f"{a}" if a == b else f"{a}-{b}" for a, b in parts)
    return msgspec.Raw(f'"{",".join(shown)}"'.encode())
