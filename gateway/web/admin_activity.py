"""/admin/activity: the audit log, filtered, and as a file."""

import csv
import io
from typing import Any
from urllib.parse import urlencode

import msgspec
import trio
from quart import Response

from gateway.control import Control
from gateway.errors import Refusal
from gateway.web import routing
from gateway.web.admin import admin_frame
from gateway.web.routing import PageRequest, PageRouter

PATH = "/admin/activity"
_ROWS = 100
# Of a file, and of one call of the API.
_MOST, _PART = 10_000, 1000
_FIELDS = (
    *("number", "created_at", "who", "address", "action", "object", "outcome", "detail"),
    "request_id",
)
_FILTERS = ("who", "action", "since")
# A table program would take a text that begins like this for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class AdminActivityPages:
    def __init__(self, control: Control, router: PageRouter) -> None:
        self._router = router

    @routing.get(PATH, "list the audit log")
    async def index(self, page: PageRequest) -> Response:
        frame = admin_frame(PATH)
        wanted = _wanted(page)
        before = page.query.get("before", "")
        refused: Refusal | None = None
        found: dict[str, Any] = {"entries": [], "next_before": None}
        try:
            found = await page.api.get("/audit", page_size=_ROWS, before=before, **wanted)
        except Refusal as error:
            refused = error
        query = {name: value for name, value in wanted.items() if value}
        older = found["next_before"]
        return await self._router.reply(
            "admin/activity.html",
            page.viewer,
            refused=refused,
            **frame,
            entries=found["entries"][::-1],
            wanted=wanted,
            query=urlencode(query),
            older="?" + urlencode(query | {"before": older}) if older else "",
            newest="?" + urlencode(query) if before else "",
        )

    @routing.get(f"{PATH}/export", "download the audit log as CSV or JSON")
    async def export(self, page: PageRequest) -> Response:
        entries = await _entries(page)
        as_csv = page.query.get("format") == "csv"
        kind, content_type = (
            ("csv", "text/csv; charset=utf-8") if as_csv else ("json", "application/json")
        )
        content = await trio.to_thread.run_sync(_as_csv if as_csv else msgspec.json.encode, entries)
        headers = {"Content-Disposition": f'attachment; filename="activity.{kind}"'}
        return Response(content, 200, headers, content_type=content_type)


async def _entries(page: PageRequest) -> list[dict[str, Any]]:
    """The latest entries that the filter admits, newest first."""
    entries: list[dict[str, Any]] = []
    before: int | None = 0
    while before is not None and len(entries) < _MOST:
        found = await page.api.get("/audit", page_size=_PART, before=before, **_wanted(page))
        entries += found["entries"][::-1]
        before = found["next_before"]
    return entries


def _wanted(page: PageRequest) -> dict[str, str]:
    return {name: page.query.get(name, "").strip() for name in _FILTERS}


def _as_csv(entries: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_FIELDS)
    for entry in entries:
        writer.writerow([_cell(entry[name]) for name in _FIELDS])
    return text.getvalue().encode()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
