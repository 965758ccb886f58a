"""The verb audit: who did what, and what was refused."""

import re
import time
from collections.abc import Iterator

from gateway.cli.context import Context, Exit
from gateway.cli.terminal import printable, table
from gateway.client import Json

POLL_SECONDS = 1.0
_AT_ONCE = 1000
# The id of a record, or of a key.
_ID = re.compile(r"\b([0-9a-f]{8})(?:-[0-9a-f-]{27}|[0-9a-f]{56})\b")


def audit(context: Context) -> Exit:
    """The newest entries; with `--follow` also those to come, until Ctrl-C."""
    arguments = context.arguments
    wanted = {"who": arguments.who, "action": arguments.action, "since": arguments.since}
    found = _entries(context, wanted, most=arguments.most)
    if arguments.follow:
        return _follow(context, wanted, found)
    rows = [_row(entry) for entry in found]
    headings = ("WHEN", "WHO", "FROM", "WHAT", "OUTCOME", "OF", "DETAIL")
    context.terminal.result({"entries": found}, table(headings, rows))
    return Exit.OK


def _follow(context: Context, wanted: Json, found: list[Json]) -> Exit:
    """One line, or with `--json` one document, for each entry."""
    last = 0
    try:
        while True:
            for entry in found:
                last = entry["number"]
                context.terminal.result(entry, printable("  ".join(_row(entry))))
            time.sleep(POLL_SECONDS)
            found = _entries(context, {**wanted, "after": last})
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _entries(context: Context, wanted: Json, most: int | None = None) -> list[Json]:
    """Ascending by number; the newest `most`, by default all."""
    found: list[Json] = []
    for page in _pages(context, wanted, min(most or _AT_ONCE, _AT_ONCE)):
        found = page + found
        if most is not None and len(found) >= most:
            return found[-most:]
    return found


def _pages(context: Context, wanted: Json, size: int) -> Iterator[list[Json]]:
    """The newest first."""
    before = None
    while True:
        page = context.client.get("/audit", page_size=size, before=before, **wanted)
        yield page["entries"]
        if (before := page["next_before"]) is None:
            return


def _brief(path: str) -> str:
    """The last two of a path, and of an id its beginning: the names are in the detail."""
    return "/".join(_ID.sub(r"\1", path).strip("/").split("/")[-2:])


def _row(entry: Json) -> tuple[str, ...]:
    return (
        entry["created_at"][:19] + "Z",
        entry["who"] or "-",
        entry["address"] or "-",
        entry["action"],
        entry["outcome"],
        _brief(entry["object"]) or "-",
        entry["detail"],
    )
