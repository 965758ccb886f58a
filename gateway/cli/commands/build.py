"""The verbs `predictd build ...`: create, ls, show, lock, diff, log, cancel, rm."""

from gateway.cli.arguments import count
from gateway.cli.command import argument, command
from gateway.cli.commands.deploy import build_network
from gateway.cli.context import Context
from gateway.cli.lookup import build_path, find_build, find_model, full_name, model_path
from gateway.cli.options import BUILD_OPTIONS, MODEL, TIMEOUT, WAIT, YES, network
from gateway.cli.terminal import facts, plural, printable, table, when
from gateway.cli.watch import (
    build_status,
    cancel_started,
    detachable,
    end_if_detached,
    follow_build,
    log_events,
    reason_line,
)
from gateway.client import Json
from gateway.suggested_command import suggested

_NUMBER = "number of the build"
_NUMBER_OR_LAST = argument(
    "number", metavar="N", nargs="?", type=count, help=f"{_NUMBER} (default: the last)"
)


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
    model = find_model(context, context.arguments.model)
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
    model = find_model(context, context.arguments.model)
    builds = context.client.listing(f"{model_path(model)}/builds")
    rows = [
        (
            each["build_number"],
            build_status(each),
            f"{each['file_path']}:{each['function_name']}",
            each["kernel"],
            packages_of(each),
            when(each["created_at"]),
            each["comment"],
        )
        for each in builds
    ]
    headings = ("BUILD", "STATUS", "FUNCTION", "KERNEL", "PACKAGES", "CREATED (UTC)", "COMMENT")
    first = suggested("deploy", "FILE:FUNCTION", "--name", model["name"])
    none = f"No builds. Create one with {first}."
    context.terminal.result({"builds": builds}, table(headings, rows) if rows else none)


@command(
    "build show",
    "show a build: what it was made from, and its packages",
    MODEL,
    _NUMBER_OR_LAST,
    examples=["predictd build show predict", "predictd build show predict 7"],
)
def show(context: Context) -> None:
    """One build on one screen."""
    model = find_model(context, context.arguments.model)
    build = find_build(context.client, model, context.arguments.number)
    lock = _lock(context, model, build) if build["lock"] else None
    shown = facts(
        {
            "build": f"{full_name(model)}, build {build['build_number']}",
            "status": build["status"],
            "reason": build["failure"] and reason_line(build["failure"]),
            "function": f"{build['file_path']}:{build['function_name']}",
            "kernel": build["kernel"],
            "python": lock and lock["python"],
            "R": lock and lock["r"],
            "snapshot": build["snapshot"],
            "created": f"{when(build['created_at'])} UTC by {build['creator']['username']}",
            "comment": build["comment"],
        }
    )
    parts = [shown, _package_table(lock["packages"]) if lock else ""]
    document = {"build": build, "lock": lock}
    context.terminal.result(document, "\n\n".join(filter(None, parts)))


@command(
    "build lock",
    "print the pylock.toml of a build: its packages with their hashes",
    MODEL,
    _NUMBER_OR_LAST,
    examples=["predictd build lock predict", "predictd build lock predict 7"],
)
def lock(context: Context) -> None:
    """The lock of a build, as PEP 751 has it."""
    model = find_model(context, context.arguments.model)
    build = find_build(context.client, model, context.arguments.number)
    if context.terminal.as_json:
        context.terminal.result(_lock(context, model, build), "")
    else:
        text = context.client.text(f"{build_path(model, build['id'])}/lock")
        context.terminal.lines_for_programs(text.rstrip("\n"))


@command(
    "build diff",
    "show which settings, packages and files differ between two builds",
    MODEL,
    argument("number", metavar="N", type=count, help=_NUMBER),
    argument("other", metavar="M", nargs="?", type=count, help="the other (default: the last)"),
    examples=["predictd build diff predict 6 7", "predictd build diff predict 6"],
)
def diff(context: Context) -> None:
    """What is different in build M, compared with build N."""
    model = find_model(context, context.arguments.model)
    before = find_build(context.client, model, context.arguments.number)
    after = find_build(context.client, model, context.arguments.other)
    path = build_path(model, before["id"])
    compared = context.client.get(f"{path}/diff/{after['id']}")
    context.terminal.result(compared, difference_text(compared))


@command(
    "build log",
    "print the log of a build until it ends",
    MODEL,
    _NUMBER_OR_LAST,
    TIMEOUT,
    examples=["predictd build log predict", "predictd build log predict 7"],
)
def log(context: Context) -> None:
    """The log of a build from its first line; for a running build, until it ends. With `--json`
    each line is a document `{"text"}`, and the last one is `{"build"}`."""
    model = find_model(context, context.arguments.model)
    build = find_build(context.client, model, context.arguments.number)
    name, number = full_name(model), build["build_number"]
    path = build_path(model, build["id"])
    with detachable(context, f"build {number} of {name!r}", suggested("build log", name, number)):
        for event in log_events(context.client, path, "build"):
            if event.name != "line":
                continue
            context.terminal.result({"text": event.data}, printable(event.data))
    build = context.client.get(path)
    if context.terminal.as_json:
        context.terminal.result({"build": build}, "")
    else:
        context.terminal.say(f"Build {number} of {name}: {build_status(build)}.")


@command(
    "build cancel",
    "cancel a build that is queued or being made",
    MODEL,
    _NUMBER_OR_LAST,
    examples=["predictd build cancel iris"],
)
def cancel(context: Context) -> None:
    """Ends a build. The deployment that waits for it fails; what serves is not touched."""
    model = find_model(context, context.arguments.model)
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
    model = find_model(context, context.arguments.model)
    build = find_build(context.client, model, context.arguments.number)
    name, number = full_name(model), build["build_number"]
    context.confirm(f"Delete build {number} of {name}?")
    context.client.delete(build_path(model, build["id"]))
    context.terminal.result({"deleted": build["id"]}, f"Deleted build {number} of {name}.")


def packages_of(build: Json) -> int | str:
    """How many packages the lock of a build has; "" without a lock."""
    return build["lock"]["packages"] if build["lock"] else ""


def difference_text(compared: Json) -> str:
    """Settings, packages and files that differ between two builds, as tables."""
    numbers = f"build {compared['build_number']} and build {compared['other_build_number']}"
    packages = [
        (_shown_name(each), each["before"] or "-", each["after"] or "-", _CHANGES[each["kind"]])
        for each in compared["packages"] or ()
    ]
    settings = [
        (each["name"], each["before"] or "-", each["after"] or "-") for each in compared["settings"]
    ]
    files = [(each["path"], each["kind"]) for each in compared["files"]]
    more = compared["files_changed"] - len(files)
    unlocked = "One of them has no lock, since it failed." if compared["packages"] is None else ""
    parts = [
        table(("SETTING", "BEFORE", "AFTER"), settings) if settings else "",
        table(("PACKAGE", "BEFORE", "AFTER", "CHANGE"), packages) if packages else "",
        table(("FILE", "CHANGE"), files) if files else "",
        f"and {plural(more, 'other file')}" if more else "",
        unlocked,
    ]
    return "\n\n".join(filter(None, parts)) or f"{numbers} have equal packages and files."


# What the kinds of changes are called.
_CHANGES = {
    "added": "added",
    "removed": "removed",
    "version": "version",
    "source": "source",
    "files": "other bytes under the same name",
}


def _lock(context: Context, model: Json, build: Json) -> Json:
    return context.client.get(f"{build_path(model, build['id'])}/lock")


def _shown_name(package: Json) -> str:
    return f"{package['name']} (R)" if package.get("language") == "r" else str(package["name"])


def _package_table(packages: list[Json]) -> str:
    rows = [(_shown_name(each), each["version"], _source(each)) for each in packages]
    return table(("PACKAGE", "VERSION", "SOURCE"), rows) if rows else "No packages."


def _source(package: Json) -> str:
    """Where a package comes from, in words."""
    if package["source"]:
        return str(package["source"])
    if package.get("language") == "r":
        return "the project or a repository"
    return "index" if package["files"] else "unknown: without hashes"


def like_the_last(context: Context, model: Json, deployment: Json | None = None) -> Json:
    """Options for a build like the model's last one, with the given options replaced. For a build
    to be deployed, the network access is that of its `deployment`."""
    arguments = context.arguments
    last = find_build(context.client, model, None)
    if deployment is None:
        reach = arguments.network or last["network"]
    else:
        reach = build_network(deployment)
    file = getattr(arguments, "file", None) or last["file_path"]
    is_other = file.lower().endswith(".r") != last["file_path"].lower().endswith(".r")
    return {
        "file_path": file,
        "function_name": getattr(arguments, "function", None) or last["function_name"],
        # A file of another language has a kernel of its own.
        "kernel": arguments.kernel or ("" if is_other else last["kernel"]),
        "comment": arguments.comment,
        "example": last["example"] if arguments.example is None else arguments.example,
        "example_output": last["example_output"] if arguments.example is None else None,
        "model_root_dir": last["model_root_dir"],
        "build_script_path": last["build_script_path"],
        "network": reach,
        "fresh": arguments.fresh,
    }
