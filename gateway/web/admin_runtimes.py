"""/admin/runtimes: the runtimes that builds can use: make, disable, delete, choose the default."""

from functools import partial

from quart import Response

from gateway.control import Control
from gateway.errors import API_PREFIX, Refusal
from gateway.web import routing
from gateway.web.admin import admin_frame
from gateway.web.api import url
from gateway.web.listing import Column, Listing
from gateway.web.routing import PageRequest, PageRouter, redirect, submit
from gateway.web.states import state_of

PATH = "/admin/runtimes"
ONE = f"{PATH}/<runtime_identifier>"
_FORM = 64 * 1024
_TYPED = ("name", "python", "requirements", "edition", "description")
_COLUMNS = (
    Column("Runtime", "runtime_identifier"),
    Column("Kernel", "kernel"),
    Column("Edition", "edition"),
    Column("Description"),
    Column("Status", "status"),
    Column("Created", "created_at"),
    Column("Actions"),
)
_DONE = {
    "created": "The runtime is being made.",
    "deleted": "The runtime is deleted.",
    "default": "This runtime is the default for new builds.",
    "saved": "The changes are saved.",
}


class AdminRuntimePages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(PATH, "list the runtimes")
    async def index(self, page: PageRequest) -> Response:
        return await self._list(page)

    @routing.post(PATH, "make a runtime with packages", audit="runtime.create", max_form=_FORM)
    async def create(self, page: PageRequest) -> Response:
        body = {name: page.form.get(name, "").strip() for name in _TYPED}
        body["edition"] = body["edition"] or "Standard"
        try:
            made = await page.api.post("/runtimes", body)
        except Refusal as refused:
            return await self._list(page, refused, body)
        return redirect(f"{url('admin', 'runtimes', made['runtime_identifier'])}?done=created")

    @routing.get(ONE, "show a runtime and how it was made")
    async def show(self, page: PageRequest, runtime_identifier: str) -> Response:
        return await self._one(page, runtime_identifier)

    @routing.post(ONE, "describe, disable or enable a runtime", audit="runtime.update")
    async def update(self, page: PageRequest, runtime_identifier: str) -> Response:
        changes = {
            "description": page.form.get("description", "").strip(),
            "disabled": "disabled" in page.form,
        }
        change = page.api.patch(url("runtimes", runtime_identifier), changes)
        done = f"{url('admin', 'runtimes', runtime_identifier)}?done=saved"
        return await submit(change, done, partial(self._one, page, runtime_identifier))

    @routing.post(f"{ONE}/delete", "delete a runtime that nothing uses", audit="runtime.delete")
    async def delete(self, page: PageRequest, runtime_identifier: str) -> Response:
        change = page.api.delete(url("runtimes", runtime_identifier))
        again = partial(self._one, page, runtime_identifier)
        return await submit(change, f"{PATH}?done=deleted", again)

    @routing.post(f"{ONE}/default", "make a runtime the default", audit="site.set")
    async def default(self, page: PageRequest, runtime_identifier: str) -> Response:
        change = page.api.patch("/site/settings", {"default_runtime": runtime_identifier})
        return await submit(change, f"{PATH}?done=default", partial(self._list, page))

    async def _list(
        self,
        page: PageRequest,
        refused: Refusal | None = None,
        typed: dict[str, str] | None = None,
    ) -> Response:
        frame = admin_frame(PATH)
        listing = Listing(page.query, field="runtime_identifier")
        found = await page.api.get("/runtimes", **listing.parameters)
        return await self._router.reply(
            "admin/runtimes.html",
            page.viewer,
            refused=refused,
            **frame,
            columns=_COLUMNS,
            listing=listing.shown(found),
            runtimes=[(each, state_of(each["status"])) for each in found["runtimes"]],
            typed=dict.fromkeys(_TYPED, "") | (typed or {}),
            done=_DONE.get(page.query.get("done", ""), ""),
        )

    async def _one(
        self, page: PageRequest, identifier: str, refused: Refusal | None = None
    ) -> Response:
        frame = admin_frame(PATH)
        runtime = await page.api.get(url("runtimes", identifier))
        return await self._router.reply(
            "admin/runtime.html",
            page.viewer,
            refused=refused,
            **frame,
            runtime=runtime,
            state=state_of(runtime["status"]),
            base=url("admin", "runtimes", identifier),
            log=API_PREFIX + url("runtimes", identifier, "log"),
            done=_DONE.get(page.query.get("done", ""), ""),
        )
