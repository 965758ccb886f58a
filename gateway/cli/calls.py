"""The verbs that let a model speak: call, logs, build-log."""

import json

from gateway.cli.context import Context, Exit
from gateway.cli.lookup import find_build, find_model, full_name, model_path
from gateway.cli.terminal import printable
from gateway.cli.watch import detachable, log_events
from gateway.client import Json


def call(context: Context) -> None:
    """Calls a model as any client would, and prints what its function returned, as JSON."""
    model = find_model(context.client, context.arguments.model)
    reply = context.client.call(model["access_key"], context.arguments.request)
    context.terminal.result(reply, json.dumps(reply["response"], ensure_ascii=False))


def logs(context: Context) -> Exit:
    """What a model's replicas printed; with `--follow`, also what they print from now on."""
    arguments = context.arguments
    path = f"{model_path(find_model(context.client, arguments.model))}/logs"
    query = {"replica": arguments.replica, "stream": arguments.stream, "tail": arguments.tail}
    if arguments.follow:
        return _follow(context, path, query)
    lines = context.client.text(path, **query).splitlines()
    text = "\n".join(map(printable, lines)) or "Nothing printed."
    context.terminal.result({"lines": lines}, text)
    return Exit.OK


def build_log(context: Context) -> None:
    """The log of a build from its first line on; of a build that still runs, to its end."""
    model = find_model(context.client, context.arguments.model)
    build = find_build(context.client, model, context.arguments.number)
    name, number = full_name(model), build["build_number"]
    path = f"{model_path(model)}/builds/{build['id']}"
    lines = []
    with detachable(f"Build {number} of {name}", f"predictd build-log {name} {number}"):
        for event in log_events(context.client, path):
            if event.name != "line":
                continue
            lines.append(event.data)
            if not context.terminal.as_json:
                context.terminal.line(printable(event.data))
    build = context.client.get(path)
    if context.terminal.as_json:
        context.terminal.result({"build": build, "lines": lines}, "")
    else:
        context.terminal.say(f"Build {number} of {name}: {build['status']}.")


def _follow(context: Context, path: str, query: Json) -> Exit:
    """One line, or with `--json` one document, for each line printed; ends with Ctrl-C."""
    try:
        for event in context.client.events(path, **query):
            if event.name == "line":
                context.terminal.result(event.data, _log_line(event.data))
    except KeyboardInterrupt:
        again = f"Look again with `predictd logs {context.arguments.model} -f`."
        context.terminal.say(f"The model goes on. {again}")
        return Exit.INTERRUPTED
    return Exit.OK


def _log_line(line: Json) -> str:
    return printable(f"{line['at']} {line['replica']} {line['stream']} {line['text']}")
