"""/projects/.../files/PATH:text, :make_folder, :move: what an editor does with the files.

A text is written only if the file still is what the editor has seen, by its SHA-256: of two users
who edit a file at once, the second one is told instead of overwriting the first one's work.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import trio

from gateway.admin import file_operations
from gateway.admin.lookup import Lookup
from gateway.admin.routing import route
from gateway.admin.routing.json_body import FREE_BYTES
from gateway.admin.schemas import AnyJson, Json
from gateway.control import Control
from gateway.errors import Refusal

T = TypeVar("T")
ONE = "/projects/<project_id>/files/<path:path>"


class WriteText(msgspec.Struct, kw_only=True):
    """`sha256` is that of the content that was read, "" for a new file."""

    text: AnyJson
    sha256: str = ""


class MoveFile(msgspec.Struct, kw_only=True):
    to: str


class TextFileRoutes:
    def __init__(self, control: Control) -> None:
        self._lookup = Lookup(control)
        self._disk = control.disk
        self._locks = control.project_locks
        self._usage = control.project_usage

    @route.get(f"{ONE}:text", "project.view", "show the text of a file, or the beginning of it")
    async def read(self, project_id: str, path: str) -> Json:
        project = await self._lookup.project(project_id)
        root = Path(project.path)
        return await trio.to_thread.run_sync(file_operations.text_of, root, path)

    @route.put(
        f"{ONE}:text",
        "project.edit",
        "write a text file, unless it has changed since it was read",
        max_body=FREE_BYTES,
        audit="file.write",
    )
    async def write(self, project_id: str, path: str, body: WriteText) -> Json:
        file_operations.names_of(path)
        await self._disk.check_free("a file")
        project = await self._lookup.project(project_id)
        size = len(body.text)
        await self._usage.admit(project, "a file", size)

        def write(root: Path) -> str:
            return file_operations.write_text(root, path, _text(body.text), body.sha256)

        sha256 = await self._changed(project_id, write)
        self._usage.add(project, size)
        return {"path": path, "sha256": sha256}

    @route.post(
        f"{ONE}:make_folder", "project.edit", "make an empty folder", audit="file.make_folder"
    )
    async def make_folder(self, project_id: str, path: str) -> Json:
        await self._changed(project_id, lambda root: file_operations.make_folder(root, path))
        return {}

    @route.post(f"{ONE}:move", "project.edit", "rename a file or folder", audit="file.move")
    async def move(self, project_id: str, path: str, body: MoveFile) -> Json:
        await self._changed(project_id, lambda root: file_operations.move(root, path, body.to))
        return {}

    async def _changed(self, project_id: str, change: Callable[[Path], T]) -> T:
        """Changes the files in a thread, while no other change of them runs."""
        project = await self._lookup.project(project_id)
        async with self._locks.changing(project.id):
            return await trio.to_thread.run_sync(change, Path(project.path))


def _text(raw: msgspec.Raw) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.ValidationError as error:
        raise Refusal("argument.invalid", f"text: {error}") from error
