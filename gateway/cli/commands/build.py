"""The verbs `predictd build ...`: create, ls, log, cancel, rm."""

from gateway.cli.arguments import count
from gateway.cli.command import argument, command
from gateway.cli.commands.deploy import build_network
from gateway.cli.context import Context
from gateway.cli.lookup import build_path, find_build, find_model, full_name, model_path
from gateway.cli.options import BUILD_OPTIONS, MODEL, TIMEOUT, WAIT, YES, network
from gateway.cli.terminal import printable, table, when
from gateway.cli.watch import cancel_started, detachable, end_if_detached, follow_build, log_events
from gateway.client import Json
from gateway.suggested_command import suggested

_NUMBER = "number of the build"


@command(
    "build create",
    "build the project as it is now, without serving it",
    MODEL,
    argument("--file", metavar="FILE", help="default for all of these: as the last build"),
    argument("--function", metavar="NAME"),
    *BUILD_OPTIONS,
    network("default: as the last build"),
    *WAIT,
    examples=["predictd build create predict", "predictd build create predict --kernel python3.11"],
)
def create(context: Context) -> None:
    """Builds the project as it is now."""
    client = context.client
    model = find_model(client, context.arguments.model)
    build = client.post(f"{model_path(model)}/builds", like_the_last(context, model))
    name, number = full_name(model), build["build_number"]
    what, look = f"build {number} of {name!r}", suggested("build log", name, number)
    end_if_detached(context, build, what, look)
    with detachable(
        context,
        what,
        look,
        suggested("build cancel", name, number),
        lambda: cancel_started(context, model, build),
    ):
        build = follow_build(context, model, build)
    advice = f"Serve it with {suggested('model redeploy', name, '--build', number)}."
    context.terminal.result(build, f"Built {name}, build {number}. {advice}")


@command(
    "build ls",
    "list a model's builds",
    MODEL,
    examples=["predictd build ls predict"],
)
def ls(context: Context) -> None:
    """A model's builds, oldest first."""
    model = find_model(context.client, context.arguments.model)
    builds = context.client.listing(f"{model_path(model)}/builds")
    rows = [
        (
            each["build_number"],
            f"cancelled by {each['cancelled_by']}" if each["cancelled_by"] else each["status"],
            f"{each['file_path']}:{each['function_name']}",
            each["kernel"],
            when(each["created_at"]),
            each["comment"],
        )
        for each in builds
    ]
    headings = ("BUILD", "STATUS", "FUNCTION", "KERNEL", "CREATED (UTC)", "COMMENT")
    first = suggested("deploy", "FILE:FUNCTION", "--name", model["name"])
    none = f"No builds. Create one with {first}."
    context.terminal.result({"builds": builds}, table(headings, rows) if rows else none)


@command(
    "build log",
    "print the log of a build until it ends",
    MODEL,
    argument("number", metavar="N", nargs="?", type=count, help=f"{_NUMBER} (default: the last)"),
    TIMEOUT,
    examples=["predictd build log predict", "predictd build log predict 7"],
)
def log(context: Context) -> None:
    """The log of a build from its first line; for a running build, until it ends."""
    model = find_model(context.client, context.arguments.model)
    build = find_build(context.client, model, context.arguments.number)
    name, number = full_name(model), build["build_number"]
    path = build_path(model, build["id"])
    lines = []
    with detachable(context, f"build {number} of {name!r}", suggested("build log", name, number)):
        for event in log_events(context.client, path, "build"):
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


@command(
    "build cancel",
    "cancel a build that is queued or being made",
    MODEL,
    argument("number", metavar="N", nargs="?", type=count, help=f"{_NUMBER} (default: the last)"),
    examples=["predictd build cancel iris"],
)
def cancel(context: Context) -> None:
    """Ends a build. The deployment that waits for it fails; what serves is not touched."""
    model = find_model(context.client, context.arguments.model)
    build = find_build(context.client, model, context.arguments.number)
    name, number = full_name(model), build["build_number"]
    with context.terminal.spinner(f"cancelling build {number}"):
        build = context.client.post(f"{build_path(model, build['id'])}:cancel")
    context.terminal.result(build, f"Cancelled build {number} of {name}.")


@command(
    "build rm",
    "delete a build that is not deployed; a running build is cancelled",
    MODEL,
    argument("number", metavar="N", type=count, help=_NUMBER),
    YES,
    examples=["predictd build rm predict 7"],
)
def rm(context: Context) -> None:
    """Deletes a build with its files and its log."""
    model = find_model(context.client, context.arguments.model)
    build = find_build(context.client, model, context.arguments.number)
    name, number = full_name(model), build["build_number"]
    context.confirm(f"Delete build {number} of {name}?")
    context.client.delete(build_path(model, build["id"]))
    context.terminal.result({"deleted": build["id"]}, f"Deleted build {number} of {name}.")


def like_the_last(context: Context, model: Json, deployment: Json | None = None) -> Json:
    """Options for a build like the model's last one, with the given options replaced. For a build
    to be deployed, the network access is that of its `deployment`."""
    arguments = context.arguments
    last = find_build(context.client, model, None)
    if deployment is None:
        reach = arguments.network or last["network"]
    else:
        reach = build_network(deployment)
    return {
        "file_path": getattr(arguments, "file", None) or last["file_path"],
        "function_name": getattr(arguments, "function", None) or last["function_name"],
        "kernel": arguments.kernel or last["kernel"],
        "comment": arguments.comment,
        "example": last["example"] if arguments.example is None else arguments.example,
        "model_root_dir": last["model_root_dir"],
        "build_script_path": last["build_script_path"],
        "network": reach,
    }
