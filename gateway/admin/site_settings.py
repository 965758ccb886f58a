"""/site/settings: what holds, from where it is, and changes of it at run time."""

from pathlib import Path
from typing import Any

import msgspec

from gateway.admin.router import Router
from gateway.admin.schemas import Json
from gateway.control import Control
from gateway.identity.permissions import Permission
from gateway.settings import SETTINGS, SettingInfo


def _type(setting: SettingInfo) -> Any:
    """The type of a setting in a request. `RuntimeSettings` checks the bounds."""
    if setting.type is Path:
        return str
    # A size is 5242880 or "5MiB".
    return int | str if setting.kind.is_size else setting.type


# Also those that cannot be changed: who asks for one is told why, and not that there is none.
ChangeSettings = msgspec.defstruct(
    "ChangeSettings",
    [
        (setting.name, _type(setting) | msgspec.UnsetType, msgspec.UNSET)
        for setting in SETTINGS.values()
    ],
    kw_only=True,
    forbid_unknown_fields=True,
)


def add_routes(routing: Router, control: Control) -> None:
    settings = control.context.runtime_settings

    async def show() -> Json:
        return {"settings": [msgspec.structs.asdict(each) for each in settings.described()]}

    async def change(asked: msgspec.Struct) -> Json:
        given = msgspec.structs.asdict(asked)
        await settings.change({n: v for n, v in given.items() if v is not msgspec.UNSET})
        return await show()

    async def reset(name: str) -> Json:
        await settings.reset(name)
        return await show()

    needs: Permission = "site.administer"
    many = "/site/settings"
    routing.add("GET", many, needs, "the settings, and which can be changed now", show)
    routing.add(
        "PATCH",
        many,
        needs,
        "change settings, all of them or none",
        change,
        ChangeSettings,
        action="site.set",
    )
    routing.add(
        "DELETE",
        f"{many}/<name>",
        needs,
        "set a setting back to its default",
        reset,
        action="site.reset",
    )
