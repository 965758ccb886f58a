"""/admin/users: the users of the site: add, change, disable, reset their password, delete keys."""

from collections.abc import Awaitable
from functools import partial
from typing import Any

from quart import Response

from gateway.control import Control
from gateway.errors import Refusal
from gateway.web import routing
from gateway.web.admin import admin_frame
from gateway.web.api import url
from gateway.web.form_errors import field_errors
from gateway.web.listing import Column, Listing
from gateway.web.routing import PageRequest, PageRouter, redirect, submit

PATH = "/admin/users"
ONE = f"{PATH}/<username>"
_KINDS = {
    "model_keys": "Model API key",
    "v2_keys": "API key",
    "legacy_keys": "legacy key",
}
_COLUMNS = (
    Column("User", "username"),
    Column("Name", "name"),
    Column("Email", "email"),
    Column("Role", "administrator"),
    Column("Status", "disabled"),
    Column("Created", "created_at"),
)
_DONE = {
    "added": "The user is added.",
    "saved": "The changes are saved.",
    "password": "The password is set. The user has to choose another one when they sign in.",
    "key": "The key is deleted: programs that use it are refused.",
    "keys": "All Model API keys of the user are deleted.",
    "session": "The session has ended.",
    "deleted": "The user is deleted, with their keys.",
}


class AdminUserPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(PATH, "list the users")
    async def index(self, page: PageRequest) -> Response:
        return await self._list(page)

    @routing.post(PATH, "add a user", audit="user.create")
    async def add(self, page: PageRequest) -> Response:
        form = page.form
        body = {name: form.get(name, "").strip() for name in ("username", "name", "email")}
        body["password"] = form.get("password", "")
        try:
            made = await page.api.post("/users", body | {"administrator": "administrator" in form})
        except Refusal as refused:
            return await self._list(page, refused=refused, typed=body)
        if "password" in made:
            # It is in this answer only.
            return await self._list(page, made=made)
        return redirect(f"{PATH}?done=added")

    @routing.get(ONE, "show a user and their keys")
    async def show(self, page: PageRequest, username: str) -> Response:
        return await self._one(page, username)

    @routing.post(ONE, "change or disable a user", audit="user.update")
    async def update(self, page: PageRequest, username: str) -> Response:
        form = page.form
        changes: dict[str, Any] = {
            "name": form.get("name", "").strip(),
            "email": form.get("email", "").strip(),
            "administrator": "administrator" in form,
            "disabled": "disabled" in form,
        }
        change = page.api.patch(url("users", username), changes)
        return await self._submit(page, username, change, "saved")

    @routing.post(f"{ONE}/password", "reset the password of a user", audit="user.set_password")
    async def password(self, page: PageRequest, username: str) -> Response:
        path = url("users", username, "password")
        new = page.form.get("password", "")
        if not new:
            refused = Refusal("argument.invalid", "password: it is empty")
            return await self._one(page, username, refused)
        change = page.api.put(path, {"password": new})
        return await self._submit(page, username, change, "password")

    @routing.post(f"{ONE}/delete", "delete a user and their keys", audit="user.delete")
    async def delete(self, page: PageRequest, username: str) -> Response:
        try:
            if page.form.get("confirmed") != username:
                raise Refusal("argument.invalid", "confirmed: the name differs")
            await page.api.delete(url("users", username))
        except Refusal as refused:
            return await self._one(page, username, refused)
        return redirect(f"{PATH}?done=deleted")

    @routing.post(f"{ONE}/keys/delete", "delete a user's Model API keys", audit="key.revoke_all")
    async def delete_keys(self, page: PageRequest, username: str) -> Response:
        change = page.api.delete(url("users", username, "model_keys"))
        return await self._submit(page, username, change, "keys")

    @routing.post(f"{ONE}/keys/<kind>/<key_id>/delete", "delete a user's key", audit="key.revoke")
    async def delete_key(
        self, page: PageRequest, username: str, kind: str, key_id: str
    ) -> Response:
        path = url("users", username, kind if kind in _KINDS else "model_keys", key_id)
        return await self._submit(page, username, page.api.delete(path), "key")

    async def _submit(
        self, page: PageRequest, username: str, change: Awaitable[object], done: str
    ) -> Response:
        """Makes a change, and leads back to the page of the user."""
        path = f"{url('admin', 'users', username)}?done={done}"
        return await submit(change, path, partial(self._one, page, username))

    async def _list(
        self,
        page: PageRequest,
        *,
        refused: Refusal | None = None,
        typed: dict[str, str] | None = None,
        made: dict[str, Any] | None = None,
    ) -> Response:
        frame = admin_frame(PATH)
        listing = Listing(page.query, field="username")
        found = await page.api.get("/users", **listing.parameters)
        return await self._router.reply(
            "admin/users.html",
            page.viewer,
            refused=refused,
            **frame,
            columns=_COLUMNS,
            listing=listing.shown(found),
            users=found["users"],
            typed=dict.fromkeys(("username", "name", "email"), "") | (typed or {}),
            errors=field_errors(refused, ("username", "name", "email", "password")),
            made=made,
            done=_DONE.get(page.query.get("done", ""), ""),
        )

    async def _one(
        self, page: PageRequest, username: str, refused: Refusal | None = None
    ) -> Response:
        frame = admin_frame(PATH)
        shown = await page.api.get(url("users", username))
        keys = [
            (kind, label, key)
            for kind, label in _KINDS.items()
            for key in await page.api.items(url("users", username, kind), kind)
        ]
        return await self._router.reply(
            "admin/user.html",
            page.viewer,
            refused=refused,
            **frame,
            shown=shown,
            base=url("admin", "users", username),
            keys=keys,
            sessions=await page.api.items(url("users", username, "sessions"), "sessions"),
            done=_DONE.get(page.query.get("done", ""), ""),
        )
