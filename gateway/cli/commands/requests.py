"""The verb requests: the latest requests of a model.

With `--json` each request is a document on one line, as the admin API shows it.
"""

from gateway.cli.arguments import count, since
from gateway.cli.command import Group, argument, command
from gateway.cli.context import Context, Exit
from gateway.cli.lookup import find_model, full_name, model_path
from gateway.cli.options import MODEL
from gateway.cli.terminal import plural, table, when
from gateway.client import Json
from gateway.suggested_command import suggested

_PAGE = 1000
_HEADINGS = ("TIME (UTC)", "STATUS", "CODE", "WAIT", "SERVICE", "REPLICA", "BUILD", "USER", "KEY")


@command(
    "requests",
    "list the latest requests of a model",
    MODEL,
    argument("--status", metavar="N", type=count, help="only this HTTP status"),
    argument("--code", metavar="CODE", help="only this error code; or success, failure"),
    argument("--replica", metavar="NAME", help="only this replica"),
    argument("--request", metavar="ID", help="only the request with this `request_id`"),
    argument("--user", metavar="NAME", help="only requests with a key of this user"),
    argument("--tests", action="store_true", help="only requests that are marked as tests"),
    argument("--since", metavar="TIME", type=since, help="10m, 2h, or a time such as 2027-01-31"),
    argument("--most", metavar="N", type=count, default=50, help="number of requests (default 50)"),
    examples=[
        "predictd requests predict --code failure --since 1h",
        "predictd requests predict --status 429 --json",
    ],
    group=Group.SERVE,
)
def requests(context: Context) -> Exit:
    """The newest first: how each request ended and how long it took, without its body."""
    arguments = context.arguments
    model = find_model(context, arguments.model)
    names = ("status", "code", "replica", "request", "user", "since")
    filters = {name: getattr(arguments, name) for name in names}
    filters["test"] = "true" if arguments.tests else None
    found, missing = _requests(context, f"{model_path(model)}/requests", filters, arguments.most)
    if context.terminal.as_json:
        for each in found:
            context.terminal.result(each, "")
        return Exit.OK
    if not found:
        context.terminal.say("No requests.")
        return Exit.OK
    headings = (*_HEADINGS, "TEST", "REQUEST")
    context.terminal.result({}, table(headings, [_row(each) for each in found]))
    if missing:
        context.terminal.say(
            f"{plural(missing, 'more request')} since the gateway started are only counted."
        )
    if any(each["code"] and each["replica"] for each in found):
        step = suggested("logs", full_name(model), "--request", "ID")
        context.terminal.say(f"What a failed request printed: {step}.")
    return Exit.OK


def _requests(context: Context, path: str, filters: Json, most: int) -> tuple[list[Json], int]:
    found: list[Json] = []
    before = None
    while len(found) < most:
        size = min(_PAGE, most - len(found))
        page = context.client.get(path, page_size=size, before=before, **filters)
        found += page["requests"]
        if (before := page["next_before"]) is None:
            break
    return found, page["not_listed"] if found else 0


def _row(each: Json) -> tuple[object, ...]:
    service = each["service_ms"]
    return (
        when(each["at"]),
        each["status"] or "-",
        each["code"] or "-",
        f"{each['wait_ms']:.1f} ms",
        "-" if service is None else f"{service:.1f} ms",
        each["replica"] or "-",
        each["build_number"] or "-",
        each["user"] or "-",
        each["key"] or "-",
        "test" if each["test"] else "-",
        each["request_id"] or "-",
    )
