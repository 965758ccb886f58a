"""The verb logs: what a model's replicas print.

With `--json` each line is a document: `{"time", "replica", "stream", "text"}`, and `"request_id"`
where the line belongs to a request that failed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from types import SimpleNamespace

from gateway.cli.arguments import count, since
from gateway.cli.command import Group, argument, command
from gateway.cli.context import Context, Exit
from gateway.cli.lookup import find_model, model_path
from gateway.cli.options import MODEL
from gateway.cli.terminal import printable
from gateway.client import Json
from gateway.request_lines import RequestLines

# The most lines of a replica with which the gateway begins a log that is followed.
_OVERLAP = 200


@command(
    "logs",
    "print the log of a model's replicas",
    MODEL,
    argument("--replica", metavar="NAME", help="only this replica"),
    argument("--stream", choices=("stdout", "stderr"), help="only this stream"),
    argument("--since", metavar="TIME", type=since, help="10m, 2h, or a time such as 2027-01-31"),
    argument(
        "--request",
        metavar="ID",
        help="only the lines of the request with this `request_id`",
    ),
    argument(
        "--tail",
        metavar="N",
        type=count,
        help="number of lines (default 200; with --since or --request all)",
    ),
    argument("-f", "--follow", action="store_true", help="follow until Ctrl-C"),
    examples=[
        "predictd logs predict --since 10m --stream stderr",
        "predictd logs predict --follow",
    ],
    group=Group.SERVE,
)
def logs(context: Context) -> Exit:
    """What a model's replicas printed; with `--follow` also what they print from now on."""
    arguments = context.arguments
    path = f"{model_path(find_model(context, arguments.model))}/logs"
    given = ("replica", "stream", "tail", "since", "request")
    query = {name: getattr(arguments, name) for name in given}
    if arguments.follow:
        return _follow(context, path, query)
    lines = context.client.lines(path, **query)
    several = len({each["replica"] for each in lines}) > 1
    for line in lines:
        _print(context, line, several)
    if not lines:
        which = f" of request {arguments.request!r} in the log" if arguments.request else ""
        context.terminal.say(f"No output{which}.")
    return Exit.OK


def _follow(context: Context, path: str, query: Json) -> Exit:
    """Prints the lines so far, and each that is printed from now on; ends with Ctrl-C."""
    wanted = query["request"]
    try:
        shown = context.client.lines(path, **query)
        for line in shown:
            _print(context, line, several=True)
        # The stream begins with lines that are printed already.
        before = Counter(map(_key, shown))
        first = shown[0]["at"] if shown else ""
        last = {line["replica"]: line["at"] for line in shown}
        for line in _followed(context, path, query):
            if before[_key(line)] > 0:
                before[_key(line)] -= 1
            elif line["at"] < last.get(line["replica"], first):
                continue  # older than what was asked for
            elif wanted is None or line.get("request_id") == wanted:
                _print(context, line, several=True)
    except KeyboardInterrupt:
        context.terminal.say("The model continues.")
        return Exit.INTERRUPTED
    return Exit.OK


def _followed(context: Context, path: str, query: Json) -> Iterator[Json]:
    """The lines as they come, with the requests that they belong to."""
    readers = defaultdict[str, RequestLines](RequestLines)
    filters = {"replica": query["replica"], "stream": query["stream"], "tail": _OVERLAP}
    for event in context.client.events(path, **filters):
        if event.name == "line":
            line = event.data
            if request := readers[line["replica"]].request_of(SimpleNamespace(**line)):
                line["request_id"] = request
            yield line


def _key(line: Json) -> tuple[str, ...]:
    return line["at"], line["replica"], line["stream"], line["text"]


def _print(context: Context, line: Json, several: bool) -> None:
    document = {"time": line["at"], **{k: v for k, v in line.items() if k != "at"}}
    replica = f"{line['replica']} " if several else ""
    text = printable(f"{line['at']} {replica}{line['stream']} {line['text']}")
    context.terminal.result(document, text)
