"""The verb audit: the audit log."""

import re
import time
from collections.abc import Iterator

from gateway.cli.arguments import count, since
from gateway.cli.command import Group, argument, command
from gateway.cli.context import Context, Exit
from gateway.cli.terminal import printable, table
from gateway.client import Json

POLL_SECONDS = 1.0
_PAGE = 1000
# The id of a record, or of a key.
_ID = re.compile(r"\b([0-9a-f]{8})(?:-[0-9a-f-]{27}|[0-9a-f]{56})\b")


@command(
    "audit",
    "show the audit log",
    argument("--who", metavar="NAME", help="only this user"),
    argument("--action", metavar="PREFIX", help="only actions that begin so, such as key."),
    argument("--since", metavar="TIME", type=since, help="2h, 7d, or a time such as 2027-01-31"),
    argument(
        "--most", metavar="N", type=count, default=100, help="number of entries (default 100)"
    ),
    argument("-f", "--follow", action="store_true", help="follow until Ctrl-C"),
    examples=["predictd audit --since 7d --who ada", "predictd audit --follow --action key."],
    group=Group.GATEWAY,
)
def audit(context: Context) -> Exit:
    """The newest entries; with `--follow` also new ones, until Ctrl-C."""
    arguments = context.arguments
    filters = {"who": arguments.who, "action": arguments.action, "since": arguments.since}
    found = _entries(context, filters, most=arguments.most)
    if arguments.follow:
        return _follow(context, filters, found)
    rows = [_row(entry) for entry in found]
    headings = ("WHEN", "WHO", "FROM", "WHAT", "OUTCOME", "OF", "DETAIL")
    context.terminal.result({"entries": found}, table(headings, rows))
    return Exit.OK


def _follow(context: Context, filters: Json, found: list[Json]) -> Exit:
    """One line, or with `--json` one document, for each entry."""
    last = 0
    try:
        while True:
            for entry in found:
                last = entry["number"]
                context.terminal.result(entry, printable("  ".join(_row(entry))))
            time.sleep(POLL_SECONDS)
            found = _entries(context, {**filters, "after": last})
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _entries(context: Context, filters: Json, most: int | None = None) -> list[Json]:
    """Ascending by number; the newest `most`, by default all."""
    found: list[Json] = []
    for page in _pages(context, filters, min(most or _PAGE, _PAGE)):
        found = page + found
        if most is not None and len(found) >= most:
            return found[-most:]
    return found


def _pages(context: Context, filters: Json, size: int) -> Iterator[list[Json]]:
    """The newest first."""
    before = None
    while True:
        page = context.client.get("/audit", page_size=size, before=before, **filters)
        yield page["entries"]
        if (before := page["next_before"]) is None:
            return


def _shortened(path: str) -> str:
    """The last two parts of a path, ids shortened: the names are in the detail."""
    return "/".join(_ID.sub(r"\1", path).strip("/").split("/")[-2:])


def _row(entry: Json) -> tuple[str, ...]:
    return (
        entry["created_at"][:19] + "Z",
        entry["who"] or "-",
        entry["address"] or "-",
        entry["action"],
        entry["outcome"],
        _shortened(entry["object"]) or "-",
        entry["detail"],
    )
