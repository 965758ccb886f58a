"""/backup and /garbage: maintenance of the data folder."""

from quart import Response

from gateway.admin.routing import route
from gateway.admin.routing.parameters import whole_number
from gateway.admin.schemas import Json
from gateway.control import Control
from gateway.control.storage.garbage import Garbage


class MaintenanceRoutes:
    def __init__(self, control: Control) -> None:
        self._backups = control.backups
        self._collector = control.collector

    @route.get(
        "/backup",
        "site.administer",
        "back up everything that a new machine needs, as a tar archive",
        audit="site.backup",
        media_types=("application/x-tar",),
        streams=True,
    )
    async def backup(self) -> Response:
        return Response(await self._backups.begin(), content_type="application/x-tar")

    @route.get(
        "/garbage",
        "site.administer",
        "list what can be deleted; `keep`: builds to keep of each model",
        query=("keep",),
    )
    async def find(self) -> Json:
        return _json(await self._collector.find(_keep()))

    @route.delete(
        "/garbage",
        "site.administer",
        "delete what `GET /garbage` lists",
        audit="garbage.collect",
        query=("keep",),
    )
    async def collect(self) -> Json:
        return _json(await self._collector.collect(_keep()))


def _keep() -> int | None:
    """None: as each model, or the site, keeps them."""
    return whole_number("keep", 0, least=1, most=1_000_000) or None


def _json(garbage: list[Garbage]) -> Json:
    return {"garbage": garbage, "bytes": sum(each.bytes for each in garbage)}
