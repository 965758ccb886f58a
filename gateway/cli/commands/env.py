"""The verbs `predictd env ...`: set, ls, rm. Variables of a project, or of the site.

A value is typed without echo, or read from stdin or a file, and never an argument, which all users
of the machine can see. Builds, experiments and deployments that begin later have the change.
"""

from pathlib import Path
from typing import NamedTuple

from gateway.cli.arguments import variable_name
from gateway.cli.command import OneOf, argument, command
from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.env_file import parse_env_file
from gateway.cli.lookup import find_project, projects_here
from gateway.cli.terminal import table
from gateway.client import Json
from gateway.suggested_command import suggested

_SCOPE = OneOf(
    (
        argument("--project", metavar="PROJECT", help="default: the project of the current folder"),
        argument("--site", action="store_true", help="the variables of all projects"),
    )
)


class _Scope(NamedTuple):
    """Whose variables: the path in the admin API, a name for messages, and the option."""

    path: str
    name: str
    option: tuple[str, ...]

    @property
    def is_site(self) -> bool:
        return self.option == ("--site",)


@command(
    "env set",
    "set environment variables; values are typed or read, never arguments",
    argument("name", metavar="NAME", nargs="?", type=variable_name),
    OneOf(
        (
            argument("--from", dest="source", metavar="FILE", help="read the value from this file"),
            argument("--file", metavar="FILE", help="set all variables of a .env file; - is stdin"),
        )
    ),
    argument("--secret", action="store_true", help="the value is never shown again"),
    _SCOPE,
    examples=[
        "predictd env set DB_PASSWORD --secret --project iris",
        "predictd env set --file .env --project iris",
    ],
)
def set_(context: Context) -> None:
    """Sets one variable, or those of a .env file."""
    arguments = context.arguments
    if bool(arguments.name) == bool(arguments.file):
        message = "give the NAME of one variable, or --file FILE"
        raise CommandFailed(message, "see `predictd help env set`", Exit.USAGE)
    scope = _scope(context)
    values = _of_file(arguments.file) if arguments.file else _one(context, arguments.name)
    secret = arguments.secret or scope.is_site
    changed = context.client.patch(scope.path, {"secrets" if secret else "environment": values})
    names = ", ".join(values) or "nothing"
    text = f"Set {names} of {scope.name}. {_effect(changed)}"
    context.terminal.result({"set": list(values), **changed}, text)


@command("env ls", "list environment variables", _SCOPE, examples=["predictd env ls --site"])
def ls(context: Context) -> None:
    """All variables; those of the site and secrets by name only."""
    scope = _scope(context)
    found = context.client.get(scope.path)
    rows = [
        (each["name"], "(secret)" if each["secret"] else each["value"])
        for each in found["variables"]
    ]
    set_one = suggested("env set", "NAME", *scope.option)
    none = f"No variables of {scope.name}. Set one with {set_one}."
    problem = f"\n{found['environment_problem']}" if found["environment_problem"] else ""
    context.terminal.result(found, (table(("NAME", "VALUE"), rows) if rows else none) + problem)


@command(
    "env rm",
    "remove environment variables",
    argument("names", metavar="NAME", nargs="+"),
    _SCOPE,
    examples=["predictd env rm DB_PASSWORD --project iris"],
)
def rm(context: Context) -> None:
    """Removes variables, secret or not."""
    scope, names = _scope(context), context.arguments.names
    changed = context.client.patch(scope.path, {"remove": names})
    text = f"Removed {', '.join(names)} of {scope.name}. {_effect(changed)}"
    context.terminal.result({"removed": names, **changed}, text)


def _scope(context: Context) -> _Scope:
    if context.arguments.site:
        return _Scope("/site/variables", "the site", ("--site",))
    named = context.arguments.project
    project = find_project(context.client, named) if named else _project_here(context)
    path = f"/projects/{project['id']}/variables"
    return _Scope(path, f"project {project['name']!r}", ("--project", project["name"]))


def _project_here(context: Context) -> Json:
    here = projects_here(context)
    fitting = [each for each in context.client.listing("/projects") if each["id"] in here]
    if len(fitting) == 1:
        return fitting[0]
    happened = "several projects have" if fitting else "no project has"
    raise CommandFailed(
        f"{happened} the current folder {Path.cwd()}",
        "name one with --project PROJECT, or use --site",
        Exit.USAGE,
    )


def _one(context: Context, name: str) -> dict[str, str]:
    """The variable with its value: from a file, typed, or all of stdin. One line end at its end
    does not count."""
    if context.arguments.source:
        value = _text_of(context.arguments.source).removesuffix("\n").removesuffix("\r")
    else:
        value = context.terminal.whole_secret(f"Value of {name}")
    if not value:
        advice = f"remove the variable with {suggested('env rm', name)}"
        raise CommandFailed("the value is empty", advice, Exit.USAGE)
    return {name: value}


def _of_file(file: str) -> dict[str, str]:
    try:
        return parse_env_file(_text_of("/dev/stdin" if file == "-" else file))
    except ValueError as error:
        raise CommandFailed(f"{file}: {error}", "correct the file", Exit.USAGE) from None


def _text_of(file: str) -> str:
    """The content of a file, which no message shows."""
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        message = f"cannot read {file}: {error.strerror}"
    except UnicodeDecodeError:
        message = f"{file} is not a text file"
    raise CommandFailed(message, "name a file that contains the value", Exit.USAGE)


def _effect(changed: Json) -> str:
    """When the change takes effect, and what has to be deployed again for it."""
    later = "Builds, experiments and deployments that start from now on see it."
    serving = [
        f"{each['project_name']}/{each['model_name']} (deployment {each['deployment_number']})"
        for each in changed["model_deployments"]
    ]
    if not serving:
        return later
    first = changed["model_deployments"][0]
    model = f"{first['project_name']}/{first['model_name']}"
    listed = ", ".join(serving[:5]) + (f" and {len(serving) - 5} more" if serving[5:] else "")
    return f"{later} Redeploy to apply it to {listed}: {suggested('model redeploy', model)}."
