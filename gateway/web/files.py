"""/projects/.../files: the folders of a project, and one file of it, to read, edit and download."""

from typing import Any
from urllib.parse import quote

from quart import Response

from gateway.control import Control
from gateway.errors import API_PREFIX, Refusal
from gateway.web import routing
from gateway.web.api import url
from gateway.web.frames import project_frame
from gateway.web.listing import Column, Listing
from gateway.web.routing import PageRequest, PageRouter, redirect

MANY = "/projects/<project_id>/files"
FOLDER = f"{MANY}/<path:path>"
ONE = "/projects/<project_id>/file/<path:path>"
_COLUMNS = (
    Column("Name", "path"),
    Column("Size", number=True),
    Column("Last Modified", "last_modified"),
    Column("Actions"),
)
_DONE = {
    "deleted": "It is deleted.",
    "moved": "It is renamed.",
    "made": "The folder is made.",
    "uploaded": "The files are uploaded.",
    "saved": "Saved. Models and experiments use the change from their next build on.",
}
# A text of 128 KiB, each byte of which may be quoted as three.
_LARGEST_TEXT = 512 * 1024
# Two paths.
_LARGEST_PATHS = 32 * 1024
_REFRESH = 5.0  # seconds; other programs change a project's folder


class FilePages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(MANY, "list the files at a project's root")
    async def root(self, page: PageRequest, project_id: str) -> Response:
        return await self._folder(page, project_id, "")

    @routing.get(FOLDER, "list the files of a folder")
    async def folder(self, page: PageRequest, project_id: str, path: str) -> Response:
        return await self._folder(page, project_id, path.strip("/"))

    @routing.post(
        f"{MANY}:new",
        "create an empty file",
        audit="file.write",
        needs="project.edit",
        max_form=_LARGEST_PATHS,
    )
    async def create(self, page: PageRequest, project_id: str) -> Response:
        folder = page.form.get("folder", "")
        try:
            path = _joined(folder, page.form.get("name", ""))
            await page.api.put(f"{api_path(project_id, path)}:text", {"text": ""})
        except Refusal as refused:
            return await self._folder(page, project_id, folder, refused)
        return redirect(file_path(project_id, path))

    @routing.post(
        f"{MANY}:upload",
        "upload files, without scripts",
        audit="file.upload",
        needs="project.edit",
        upload=True,
    )
    async def upload(self, page: PageRequest, project_id: str) -> Response:
        folder = page.query.get("folder", "")
        try:
            await page.api.upload(api_path(project_id, ""))
        except Refusal as refused:
            return await self._folder(page, project_id, folder, refused)
        return redirect(f"{folder_path(project_id, folder)}?done=uploaded")

    @routing.post(
        f"{MANY}:folder",
        "make a folder",
        audit="file.make_folder",
        needs="project.edit",
        max_form=_LARGEST_PATHS,
    )
    async def make_folder(self, page: PageRequest, project_id: str) -> Response:
        folder = page.form.get("folder", "")
        try:
            path = _joined(folder, page.form.get("name", ""))
            await page.api.post(f"{api_path(project_id, path)}:make_folder")
        except Refusal as refused:
            return await self._folder(page, project_id, folder, refused)
        return redirect(f"{folder_path(project_id, path)}?done=made")

    @routing.post(
        f"{MANY}:move",
        "rename a file or folder",
        audit="file.move",
        needs="project.edit",
        max_form=_LARGEST_PATHS,
    )
    async def move(self, page: PageRequest, project_id: str) -> Response:
        path, to = page.form.get("path", ""), page.form.get("to", "").strip()
        try:
            await page.api.post(f"{api_path(project_id, path)}:move", {"to": to})
        except Refusal as refused:
            return await self._folder(page, project_id, _above(path), refused)
        return redirect(f"{folder_path(project_id, _above(to))}?done=moved")

    @routing.post(
        f"{MANY}:delete",
        "delete a file or folder",
        audit="file.delete",
        needs="project.edit",
        max_form=_LARGEST_PATHS,
    )
    async def delete(self, page: PageRequest, project_id: str) -> Response:
        path = page.form.get("path", "")
        try:
            await page.api.delete(api_path(project_id, path))
        except Refusal as refused:
            return await self._folder(page, project_id, _above(path), refused)
        return redirect(f"{folder_path(project_id, _above(path))}?done=deleted")

    @routing.get(ONE, "show a file")
    async def show(self, page: PageRequest, project_id: str, path: str) -> Response:
        return await self._file(page, project_id, path)

    @routing.post(
        ONE, "save a file", audit="file.write", needs="project.edit", max_form=_LARGEST_TEXT
    )
    async def save(self, page: PageRequest, project_id: str, path: str) -> Response:
        text = page.form.get("text", "").replace("\r\n", "\n")
        # A form sends each line break as two characters, also where the file has one.
        if page.form.get("newline") == "crlf":
            text = text.replace("\n", "\r\n")
        body = {"text": text, "sha256": page.form.get("sha256", "")}
        try:
            await page.api.put(f"{api_path(project_id, path)}:text", body)
        except Refusal as refused:
            return await self._file(page, project_id, path, refused, typed=text)
        return redirect(f"{file_path(project_id, path)}?done=saved")

    async def _folder(
        self, page: PageRequest, project_id: str, folder: str, refused: Refusal | None = None
    ) -> Response:
        frame = await project_frame(page, project_id)
        listing = Listing(page.query, field="path", sort="-is_dir")
        entries: list[dict[str, Any]] = []
        if frame["project"]["creation_status"] == "success":
            # With the slash it is a folder also where its name ends as a verb, such as `:text`.
            path = f"{api_path(project_id, folder)}/" if folder else api_path(project_id, "")
            found = await page.api.get(path, **listing.parameters)
            entries = found["files"]
            listing.shown(found)
        return await self._router.reply(
            "files/folder.html",
            page.viewer,
            refused=refused,
            **frame,
            **_place(project_id, folder),
            columns=_COLUMNS,
            listing=listing,
            entries=[_row(project_id, entry) for entry in entries],
            is_new=not folder and all(each["path"].startswith(".") for each in entries),
            typed=page.form.get("name", page.form.get("to", "")),
            # The form that was refused stays open.
            opened=page.path.partition("?")[0].rpartition(":")[2] if refused else "",
            done=_DONE.get(page.query.get("done", ""), ""),
            refresh=_REFRESH,
        )

    async def _file(
        self,
        page: PageRequest,
        project_id: str,
        path: str,
        refused: Refusal | None = None,
        typed: str | None = None,
    ) -> Response:
        """`typed` is what could not be saved: another version of the file may be there now."""
        frame = await project_frame(page, project_id)
        try:
            file = await page.api.get(f"{api_path(project_id, path)}:text")
        except Refusal as missing:
            if refused is None or missing.code != "file.notfound":
                raise
            file = {"text": "", "truncated": False, "sha256": "", "file_size": "0"}
        editable = frame["may_edit"] and file["text"] is not None and not file["truncated"]
        return await self._router.reply(
            "files/show.html",
            page.viewer,
            refused=refused,
            **frame,
            **_place(project_id, path),
            file=file,
            size=size_text(int(file["file_size"])),
            editable=editable,
            typed=typed,
            conflict=refused is not None and refused.code == "state.conflict",
            newline="crlf" if "\r\n" in (file["text"] or "") else "lf",
            download=f"{API_PREFIX}{api_path(project_id, path)}:download",
            done=_DONE.get(page.query.get("done", ""), ""),
        )


def api_path(project_id: str, path: str) -> str:
    """The path in the API of a file or folder, "" for the root."""
    base = url("projects", project_id, "files")
    return f"{base}/{quote(path)}" if path else base


def folder_path(project_id: str, path: str) -> str:
    """The path of a folder's page."""
    return api_path(project_id, path)


def file_path(project_id: str, path: str) -> str:
    """The path of a file's page."""
    return f"{url('projects', project_id, 'file')}/{quote(path)}"


def size_text(size: int) -> str:
    """A number of bytes as a user reads it."""
    amount = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{size} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"


def _place(project_id: str, path: str) -> dict[str, Any]:
    """Where a page is in the project's folder: the links to the folders above it."""
    names = path.split("/") if path else []
    above = ["/".join(names[:number]) for number in range(len(names))]
    links = [(folder_path(project_id, each), each.rpartition("/")[2]) for each in above]
    return {
        "tab": folder_path(project_id, ""),
        "path": path,
        "name": names[-1] if names else "",
        "above": [(folder_path(project_id, ""), "Files"), *links[1:]] if names else [],
    }


def _row(project_id: str, entry: dict[str, Any]) -> dict[str, Any]:
    path, link = entry["path"], entry.get("link", "")
    page = folder_path if entry["is_dir"] else file_path
    is_file = not entry["is_dir"] and not link
    return {
        "path": path,
        "name": path.rpartition("/")[2],
        "is_dir": entry["is_dir"],
        "link": link,
        "page": "" if link else page(project_id, path),
        "size": size_text(int(entry["file_size"])) if is_file else "",
        "changed": entry["last_modified"],
        "download": f"{API_PREFIX}{api_path(project_id, path)}:download" if is_file else "",
    }


def _joined(folder: str, name: str) -> str:
    name = name.strip().strip("/")
    if not name:
        raise Refusal("argument.invalid", "name: give a name")
    return f"{folder}/{name}" if folder else name


def _above(path: str) -> str:
    return path.rpartition("/")[0]
