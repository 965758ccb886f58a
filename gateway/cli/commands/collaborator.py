"""The verbs `predictd collaborator ...`: add, ls, rm."""

from urllib.parse import quote

from gateway.cli.command import argument, command
from gateway.cli.context import Context
from gateway.cli.lookup import find_project
from gateway.cli.options import PROJECT
from gateway.cli.terminal import table
from gateway.client import Json

# As in the table of permissions, in ascending order.
ROLES = ("viewer", "operator", "contributor", "admin", "owner")
_USER = argument("user", metavar="USER", help="name of the user")


@command(
    "collaborator add",
    "give a user a role in a project",
    PROJECT,
    _USER,
    argument(
        "role",
        metavar="ROLE",
        choices=ROLES,
        help=f"{', '.join(ROLES)}; the new owner replaces the present one",
    ),
    examples=["predictd collaborator add iris ada contributor"],
)
def add(context: Context) -> None:
    """Gives a user a role in a project, or changes it."""
    arguments, client = context.arguments, context.client
    project = find_project(client, arguments.project)
    put = client.put(_path(project, arguments.user), {"permission": arguments.role})
    text = f"{put['username']} is now {put['permission']} of {project['name']}."
    context.terminal.result(put, text)


@command(
    "collaborator ls",
    "list who works in a project",
    PROJECT,
    examples=["predictd collaborator ls iris"],
)
def ls(context: Context) -> None:
    """The users of a project and their roles."""
    project = find_project(context.client, context.arguments.project)
    found = context.client.listing(f"/projects/{project['id']}/collaborators")
    rows = [(each["username"], each["name"], each["permission"]) for each in found]
    text = table(("USER", "NAME", "ROLE"), rows)
    context.terminal.result({"collaborators": found}, text)


@command(
    "collaborator rm",
    "remove a user from a project",
    PROJECT,
    _USER,
    examples=["predictd collaborator rm iris ada"],
)
def rm(context: Context) -> None:
    """Removes a user's role in a project."""
    project = find_project(context.client, context.arguments.project)
    name = context.arguments.user
    context.client.delete(_path(project, name))
    text = f"{name} no longer has a role in {project['name']}."
    context.terminal.result({"removed": name}, text)


def _path(project: Json, name: str) -> str:
    return f"/projects/{project['id']}/collaborators/{quote(name, safe='')}"
