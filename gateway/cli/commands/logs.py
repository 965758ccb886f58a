"""The verb logs: what a model's replicas print."""

from gateway.cli.arguments import count
from gateway.cli.command import Group, argument, command
from gateway.cli.context import Context, Exit
from gateway.cli.lookup import find_model, model_path
from gateway.cli.options import MODEL
from gateway.cli.terminal import printable
from gateway.client import Json


@command(
    "logs",
    "print the log of a model's replicas",
    MODEL,
    argument("--replica", metavar="NAME", help="only this replica"),
    argument("--stream", choices=("stdout", "stderr"), help="only this stream"),
    argument("--tail", metavar="N", type=count, help="number of lines (default 200)"),
    argument("-f", "--follow", action="store_true", help="follow until Ctrl-C"),
    examples=["predictd logs predict --tail 50", "predictd logs predict --follow --stream stderr"],
    group=Group.SERVE,
)
def logs(context: Context) -> Exit:
    """What a model's replicas printed; with `--follow` also what they print from now on."""
    arguments = context.arguments
    path = f"{model_path(find_model(context.client, arguments.model))}/logs"
    query = {"replica": arguments.replica, "stream": arguments.stream, "tail": arguments.tail}
    if arguments.follow:
        return _follow(context, path, query)
    lines = context.client.text(path, **query).splitlines()
    text = "\n".join(map(printable, lines)) or "No output."
    context.terminal.result({"lines": lines}, text)
    return Exit.OK


def _follow(context: Context, path: str, query: Json) -> Exit:
    """One line, or with `--json` one document, for each line printed; ends with Ctrl-C."""
    try:
        for event in context.client.events(path, **query):
            if event.name == "line":
                context.terminal.result(event.data, _log_line(event.data))
    except KeyboardInterrupt:
        context.terminal.say("The model continues.")
        return Exit.INTERRUPTED
    return Exit.OK


def _log_line(line: Json) -> str:
    return printable(f"{line['at']} {line['replica']} {line['stream']} {line['text']}")
