"""/site/settings: the settings in effect, their sources, and changes at run time."""

from pathlib import Path
from typing import Any

import msgspec

from gateway.admin.routing import route
from gateway.admin.schemas import Json
from gateway.control import Control
from gateway.settings import SETTINGS, SettingInfo


def _type_of(setting: SettingInfo) -> Any:
    """The type of a setting in a request. `RuntimeSettings` checks the bounds."""
    if setting.type is Path:
        return str
    # A size is 5242880 or "5MiB". `RuntimeSettings` says what a number or a switch can be.
    return setting.type | str if setting.type in (int, float, bool) else setting.type


# Settings that cannot be changed are fields too: the error says why they cannot.
ChangeSettings = msgspec.defstruct(
    "ChangeSettings",
    [
        (setting.name, _type_of(setting) | msgspec.UnsetType, msgspec.UNSET)
        for setting in SETTINGS.values()
    ],
    kw_only=True,
    forbid_unknown_fields=True,
)


class SiteSettingRoutes:
    def __init__(self, control: Control) -> None:
        self._settings = control.settings

    @route.get("/site/settings", "site.administer", "list the settings and whether they can change")
    async def show(self) -> Json:
        return {"settings": [msgspec.structs.asdict(each) for each in self._settings.described()]}

    @route.patch(
        "/site/settings",
        "site.administer",
        "change settings: all of them, or none on an error",
        body=ChangeSettings,
        audit="site.set",
    )
    async def change(self, body: msgspec.Struct) -> Json:
        values = msgspec.structs.asdict(body)
        await self._settings.change({n: v for n, v in values.items() if v is not msgspec.UNSET})
        return await self.show()

    @route.delete(
        "/site/settings/<name>",
        "site.administer",
        "reset a setting to its default",
        audit="site.reset",
    )
    async def reset(self, name: str) -> Json:
        await self._settings.reset(name)
        return await self.show()
