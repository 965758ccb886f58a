"""/backup and /garbage: what keeps the data folder safe and small."""

from quart import Response, request

from gateway.admin.router import Router
from gateway.admin.schemas import Json
from gateway.control import Control
from gateway.control.storage.garbage import KEPT_BUILDS, Garbage
from gateway.errors import Refusal


def add_routes(routing: Router, control: Control) -> None:
    async def backup() -> Response:
        return Response(await control.backups.begin(), content_type="application/x-tar")

    async def find() -> Json:
        return _told(await control.collector.find(_keep()))

    async def collect() -> Json:
        return _told(await control.collector.collect(_keep()))

    routing.add(
        "GET",
        "/backup",
        "site.administer",
        "all that a new machine needs, as one tar",
        backup,
        action="site.backup",
        gives=("application/x-tar",),
        streams=True,
    )
    routing.add(
        "GET",
        "/garbage",
        "site.administer",
        "what nobody needs; `keep`: builds of each model",
        find,
        query=("keep",),
    )
    routing.add(
        "DELETE",
        "/garbage",
        "site.administer",
        "remove it; `keep` as above",
        collect,
        action="garbage.collect",
        query=("keep",),
    )


def _keep() -> int:
    given = request.args.get("keep", str(KEPT_BUILDS))
    if not given.isdecimal() or not 1 <= int(given) <= 1_000_000:
        raise Refusal("argument.invalid", f"keep: {given!r} is not a number from 1 on")
    return int(given)


def _told(garbage: list[Garbage]) -> Json:
    return {"garbage": garbage, "bytes": sum(each.bytes for each in garbage)}
