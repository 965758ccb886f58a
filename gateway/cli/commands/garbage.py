"""The verb gc: deletes builds, caches and leftovers that are not needed."""

from gateway.cli.arguments import count
from gateway.cli.command import Group, argument, command
from gateway.cli.context import Context
from gateway.cli.options import YES
from gateway.cli.terminal import mib, plural, table
from gateway.client import Json


@command(
    "gc",
    "delete builds, caches and leftovers that are not needed",
    argument("--dry-run", action="store_true", help="only list them"),
    argument(
        "--keep",
        metavar="N",
        type=count,
        help="builds of each model to keep (default: as the model or the site has it)",
    ),
    YES,
    examples=["predictd gc --dry-run", "predictd gc --keep 3 --yes"],
    group=Group.GATEWAY,
)
def gc(context: Context) -> None:
    """Deletes what is not needed, or with `--dry-run` lists it."""
    query = f"?keep={context.arguments.keep}" if context.arguments.keep else ""
    with context.terminal.spinner("searching"):
        found = context.client.get(f"/garbage{query}")
    if context.arguments.dry_run or not found["garbage"]:
        advice = "\nNothing was deleted. Delete it with `predictd gc`." if found["garbage"] else ""
        context.terminal.result(found, _listed(found) + advice)
        return
    if not context.terminal.as_json:
        context.terminal.say(_listed(found))
    context.confirm(f"Delete {plural(len(found['garbage']), 'item')}?")
    with context.terminal.spinner("deleting"):
        deleted = context.client.delete(f"/garbage{query}")
    context.terminal.result(deleted, f"Deleted {_summary(deleted)}.")


def _what(item: Json) -> str:
    if not item["model"]:
        return str(item["name"])
    return f"{item['project']}/{item['model']} build {item['number']}"


def _listed(found: Json) -> str:
    garbage = found["garbage"]
    if not garbage:
        return "Nothing to delete."
    rows = [
        (
            each["kind"],
            _what(each),
            mib(each["bytes"]),
            each["reason"],
        )
        for each in garbage
    ]
    return f"{table(('KIND', 'WHAT', 'SIZE', 'WHY'), rows)}\n{_summary(found)}"


def _summary(found: Json) -> str:
    total = sum(each["bytes"] for each in found["garbage"])
    return f"{plural(len(found['garbage']), 'item')}, {mib(total)}"
