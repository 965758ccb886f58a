"""/admin/settings: each setting with its value, where it is from, and when a change takes effect.

A setting that a flag, the environment or the file fixes cannot be changed here, nor one that is
read at the start only. The page says which.
"""

import json
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

from quart import Response

from gateway.control import Control
from gateway.errors import Refusal
from gateway.web import routing
from gateway.web.admin import admin_frame
from gateway.web.api import url
from gateway.web.routing import PageRequest, PageRouter, submit

PATH = "/admin/settings"
ONE = f"{PATH}/<name>"
# As CDSW names them.
_FLAGS = {
    "users_may_create_models": "Enable users to create models.",
    "users_may_create_projects": "Enable users to create projects.",
}
_FORM = 16 * 1024
# Variables have values that may be secrets, so no page shows them.
_NOT_HERE = "environment"
_MIB = 1024 * 1024
_DONE = {"saved": "The setting is changed.", "reset": "The setting has its default again."}


class Row(NamedTuple):
    """A setting as the page shows it; `text` is its value as one types it."""

    setting: dict[str, Any]
    text: str
    label: str
    is_switch: bool
    is_flag: bool
    changeable: bool
    fixed: str


class AdminSettingPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(PATH, "list the settings")
    async def index(self, page: PageRequest) -> Response:
        return await self._page(page)

    @routing.post(ONE, "change a setting", audit="site.set", max_form=_FORM)
    async def change(self, page: PageRequest, name: str) -> Response:
        """A switch that is off is not in the form, so the form says that it has a switch."""
        is_switch = "switch" in page.form
        value: object = "value" in page.form if is_switch else page.form.get("value", "").strip()

        async def change() -> None:
            await page.api.patch("/site/settings", {name: await self._value(page, name, value)})

        again = partial(self._page, page, name=name, typed=str(value))
        return await submit(change(), _done("saved", name), again)

    @routing.post(f"{ONE}/reset", "reset a setting to its default", audit="site.reset")
    async def reset(self, page: PageRequest, name: str) -> Response:
        change = page.api.delete(url("site", "settings", name))
        again = partial(self._page, page, name=name)
        return await submit(change, _done("reset", name), again)

    async def _value(self, page: PageRequest, name: str, value: object) -> object:
        """The value in the type of the setting: a list is typed with commas, a number as it is."""
        found = await page.api.get("/site/settings")
        for setting in found["settings"]:
            if setting["name"] == name and isinstance(setting["default"], list):
                return [each.strip() for each in str(value).split(",") if each.strip()]
        return value

    async def _page(
        self,
        page: PageRequest,
        refused: Refusal | None = None,
        name: str = "",
        typed: str = "",
    ) -> Response:
        frame = admin_frame(PATH)
        found = (await page.api.get("/site/settings"))["settings"]
        rows = [_row(each, typed if each["name"] == name and refused else None) for each in found]
        return await self._router.reply(
            "admin/settings.html",
            page.viewer,
            refused=refused,
            **frame,
            flags=[row for row in rows if row.is_flag],
            rows=[row for row in rows if not row.is_flag],
            wrong=name if refused else "",
            changed=page.query.get("name", "") if refused is None else "",
            done=_DONE.get(page.query.get("done", ""), ""),
        )


def _done(done: str, name: str) -> str:
    """The row of a setting, which says what was done: the top of the page is out of sight there."""
    return f"{PATH}?done={done}&name={quote(name)}#{quote(name)}"


def _row(setting: dict[str, Any], typed: str | None) -> Row:
    name, source = setting["name"], setting["source"]
    fixed = ""
    if not setting["changeable"]:
        at_source = source not in ("default", "site settings")
        fixed = f"fixed by {source}" if at_source else "read at the start only"
    return Row(
        setting=setting,
        text=_text(setting) if typed is None else typed,
        label=_FLAGS.get(name, name),
        is_switch=isinstance(setting["value"], bool),
        is_flag=name in _FLAGS,
        changeable=setting["changeable"] and name != _NOT_HERE,
        fixed=fixed,
    )


def _text(setting: dict[str, Any]) -> str:
    value = setting["value"]
    if isinstance(value, list):
        return ", ".join(str(each) for each in value)
    if setting["size"] and value and value % _MIB == 0:
        return f"{value // _MIB}MiB"
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)
