"""The verbs `predictd runtime ...`: interpreters, bare or with packages, that builds start from."""

import sys
from pathlib import Path
from urllib.parse import quote

from gateway.cli.command import argument, command
from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.lookup import find_project
from gateway.cli.options import WAIT, YES
from gateway.cli.terminal import printable, table, when
from gateway.cli.watch import detachable, end_if_detached, log_events
from gateway.client import Json
from gateway.suggested_command import suggested

_NAME = argument("name", metavar="NAME", help="its name, or NAME@VERSION")


@command(
    "runtime create",
    "make a runtime: an interpreter with packages",
    argument("name", metavar="NAME", help="a new name, or one that gets another version"),
    argument("--python", metavar="VERSION", default="", help="such as 3.12; downloaded if missing"),
    argument("--requirements", metavar="FILE", help="its packages, as for pip; `-` reads stdin"),
    argument("--edition", metavar="TEXT", default="Standard"),
    argument("--description", metavar="TEXT", default=""),
    *WAIT,
    examples=["predictd runtime create science --python 3.12 --requirements requirements.txt"],
)
def create(context: Context) -> None:
    """Makes the next version of a runtime and waits until builds can use it."""
    arguments, client = context.arguments, context.client
    asked = {
        "name": arguments.name,
        "python": arguments.python,
        "requirements": _requirements(arguments.requirements),
        "edition": arguments.edition,
        "description": arguments.description,
    }
    runtime = client.post("/runtimes", asked)
    identifier = runtime["runtime_identifier"]
    look = suggested("runtime log", identifier)
    end_if_detached(context, runtime, f"runtime {identifier!r}", look)
    context.terminal.say(f"Making runtime {identifier}.")
    with (
        detachable(context, f"runtime {identifier!r}", look),
        context.terminal.spinner(f"runtime {identifier}"),
    ):
        for _, line in log_events(client, _path(runtime["id"]), "runtime"):
            context.terminal.say(context.terminal.style.dim(printable(line)))
    runtime = client.get(_path(runtime["id"]))
    if failure := runtime["failure"]:
        raise CommandFailed(
            f"runtime {identifier!r} failed: {failure['summary']}: {failure['problem']}",
            failure["advice"],
            Exit.FAILED,
        )
    text = f"Runtime {identifier} is ready. Use it with `--kernel {runtime['name']}`."
    context.terminal.result(runtime, text)


@command("runtime ls", "list the runtimes that builds can use", examples=["predictd runtime ls"])
def ls(context: Context) -> None:
    """All runtimes, with the default one marked."""
    runtimes = context.client.listing("/runtimes")
    rows = [
        (
            each["runtime_identifier"] + (" (default)" if each["default"] else ""),
            each["kernel"],
            each["edition"],
            each["status"],
            each["description"],
            when(each["created_at"]) if each["created_at"] else "",
        )
        for each in runtimes
    ]
    headings = ("RUNTIME", "KERNEL", "EDITION", "STATUS", "DESCRIPTION", "CREATED (UTC)")
    context.terminal.result({"runtimes": runtimes}, table(headings, rows))


@command(
    "runtime log",
    "print how a runtime was made",
    _NAME,
    examples=["predictd runtime log science@2"],
)
def log(context: Context) -> None:
    """The log of the installation, to its end."""
    runtime = _find(context)
    lines = [printable(line) for _, line in log_events(context.client, _path(runtime["id"]), "log")]
    context.terminal.result({"lines": lines}, "\n".join(lines))


@command(
    "runtime disable",
    "keep new builds from using a runtime",
    _NAME,
    examples=["predictd runtime disable science@1"],
)
def disable(context: Context) -> None:
    """Existing builds serve as before, and can be rebuilt."""
    runtime = _change(context, {"disabled": True})
    text = f"New builds cannot use {runtime['runtime_identifier']}; existing ones serve as before."
    context.terminal.result(runtime, text)


@command(
    "runtime enable",
    "let new builds use a runtime again",
    _NAME,
    examples=["predictd runtime enable science@1"],
)
def enable(context: Context) -> None:
    """Ends what `runtime disable` began."""
    runtime = _change(context, {"disabled": False})
    context.terminal.result(runtime, f"Builds can use {runtime['runtime_identifier']} again.")


@command(
    "runtime default",
    "choose the runtime of the site or of a project",
    argument("name", metavar="NAME", help="a runtime, or `none`"),
    argument("--project", metavar="PROJECT", help="of this project; default: of the site"),
    examples=["predictd runtime default science", "predictd runtime default none --project iris"],
)
def default(context: Context) -> None:
    """Sets what builds and experiments use unless they name another runtime."""
    client, name = context.client, context.arguments.name
    chosen = "" if name == "none" else name
    if context.arguments.project:
        project = find_project(client, context.arguments.project)
        path = f"/projects/{project['id']}"
        outcome, whose = client.patch(path, {"runtime_identifier": chosen}), project["name"]
    else:
        outcome, whose = client.patch("/site/settings", {"default_runtime": chosen}), "the site"
    text = f"New builds of {whose} use {name}." if chosen else f"{whose} has no runtime of its own."
    context.terminal.result(outcome, text)


@command(
    "runtime rm",
    "delete a runtime that nothing uses",
    _NAME,
    YES,
    examples=["predictd runtime rm science@1"],
)
def rm(context: Context) -> None:
    """Deletes one version of a runtime."""
    runtime = _find(context)
    identifier = runtime["runtime_identifier"]
    context.confirm(f"Delete runtime {identifier}?")
    context.client.delete(_path(runtime["id"]))
    context.terminal.result({"deleted": identifier}, f"Deleted runtime {identifier}.")


def _requirements(file: str | None) -> str:
    if file is None:
        return ""
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise CommandFailed(
            f"cannot read {file!r}: {reason}", "give a requirements file", Exit.USAGE
        ) from error


def _find(context: Context) -> Json:
    return context.client.get(_path(context.arguments.name))


def _change(context: Context, changes: Json) -> Json:
    return context.client.patch(_path(context.arguments.name), changes)


def _path(name: str) -> str:
    return f"/runtimes/{quote(name, safe='')}"
