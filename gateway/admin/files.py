"""/projects/{id}/files: the files of a project."""

import os
from pathlib import Path

import trio
from quart import Response
from werkzeug.datastructures import FileStorage, MultiDict

from gateway.admin import tree
from gateway.admin.downloads import download
from gateway.admin.lookup import Lookup
from gateway.admin.paging import PAGED, page
from gateway.admin.router import Router
from gateway.admin.schemas import Json
from gateway.control import Control
from gateway.errors import Refusal


def add_routes(routing: Router, control: Control) -> None:
    seek = Lookup(control)

    async def folder_of(project_id: str) -> Path:
        return Path((await seek.project(project_id)).path)

    async def index(project_id: str, path: str = "") -> Json:
        root = await folder_of(project_id)
        return await page("files", await trio.to_thread.run_sync(tree.listing, root, path))

    async def show(project_id: str, path: str) -> Json | Response:
        if path.endswith(":download"):
            root = await folder_of(project_id)
            return await download(lambda: tree.opened(root, path.removesuffix(":download")))
        return await index(project_id, path)

    async def upload(project_id: str, parts: MultiDict[str, FileStorage]) -> Json:
        if not parts:
            raise Refusal("argument.invalid", "send each file as a form field named by its path")
        project, kept = await seek.project(project_id), control.context.project_usage
        for name in parts:
            tree.names_of(name)  # all are looked at before any is written
        await control.context.disk.check_free("an upload")
        more = sum(_size(part) for _, part in parts.items(multi=True))
        await kept.admit(project, "an upload", more)
        for name, part in parts.items(multi=True):
            await trio.to_thread.run_sync(tree.save, part.stream, Path(project.path), name)
        kept.add(project, more)
        return {}

    async def delete(project_id: str, path: str) -> Json:
        project = await seek.project(project_id)
        await trio.to_thread.run_sync(tree.remove, Path(project.path), path)
        control.context.project_usage.shrank(project)
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
        most="max_upload_size",
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


def _size(part: FileStorage) -> int:
    at = part.stream.tell()
    size = part.stream.seek(0, os.SEEK_END)
    part.stream.seek(at)
    return size
