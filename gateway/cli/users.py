"""The verbs `predictd user ...` and `predictd collaborator ...`.

A password is typed without being shown, or read from stdin: arguments are everybody's to see.
"""

from urllib.parse import quote

from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.lookup import find_project
from gateway.cli.models import confirm_or_exit, when
from gateway.cli.terminal import table
from gateway.client import Json

# As in the table of permissions, from the least to the most.
ROLES = ("viewer", "operator", "contributor", "admin", "owner")


def add(context: Context) -> None:
    """A new user, with a random password that is shown once and has to be changed."""
    arguments = context.arguments
    asked = {
        "username": arguments.name,
        "name": arguments.full_name,
        "email": arguments.email,
        "administrator": arguments.admin,
    }
    user = context.client.post("/users", asked)
    context.terminal.result(
        user,
        f"The user {user['username']} is made. The first password, shown only now: "
        f"{user['password']}\nThey choose another when they sign in.",
    )


def ls(context: Context) -> None:
    """All users."""
    users = context.client.listing("/users")
    rows = [
        (
            each["username"],
            each["name"],
            each["email"],
            _standing(each),
            _password(each),
            when(each["created_at"]),
        )
        for each in users
    ]
    headings = ("USER", "NAME", "E-MAIL", "STANDING", "PASSWORD", "CREATED (UTC)")
    context.terminal.result({"users": users}, table(headings, rows))


def disable(context: Context) -> None:
    """From the answer on, no session and no key of theirs opens anything."""
    user = _changed(context, {"disabled": True})
    text = f"{user['username']} is disabled: no key and no session of theirs opens anything."
    context.terminal.result(user, text)


def enable(context: Context) -> None:
    """Their keys are good again; they sign in anew."""
    user = _changed(context, {"disabled": False})
    text = f"{user['username']} is enabled, and so are the keys they have."
    context.terminal.result(user, text)


def admin(context: Context) -> None:
    """Makes somebody a site administrator, or with `--off` no longer."""
    user = _changed(context, {"administrator": not context.arguments.off})
    standing = "is a site administrator" if user["administrator"] else "is no site administrator"
    context.terminal.result(user, f"{user['username']} {standing}.")


def password(context: Context) -> None:
    """Gives somebody a password, or with `--none` takes theirs away; ends their sessions."""
    terminal, name = context.terminal, context.arguments.name
    new = ""
    if not context.arguments.none:
        new = terminal.secret(f"New password for {name}")
        if not new:
            raise CommandFailed("No password was given.", "To take it away: --none.", Exit.USAGE)
        if terminal.is_asked and terminal.secret("Once more") != new:
            raise CommandFailed("The two are not the same.", "Try again.", Exit.USAGE)
    user = context.client.put(f"{_path(name)}/password", {"password": new})
    text = f"{user['username']} has a new password"
    if not new:
        text = f"{user['username']} has no password any more"
    elif user["must_change_password"]:
        text += ", to be changed when they sign in"
    context.terminal.result(user, f"{text}. Their sessions have ended.")


def rm(context: Context) -> None:
    """Deletes a user with all keys."""
    user = context.client.get(_path(context.arguments.name))
    confirm_or_exit(context, f"Delete the user {user['username']} with all keys?")
    context.client.delete(_path(user["username"]))
    context.terminal.result(
        {"deleted": user["username"]}, f"The user {user['username']} is deleted, with all keys."
    )


def add_collaborator(context: Context) -> None:
    """Gives a user a role in a project, or another one than before."""
    arguments, client = context.arguments, context.client
    project = find_project(client, arguments.project)
    put = client.put(_collaborator(project, arguments.user), {"permission": arguments.role})
    text = f"{put['username']} is {put['permission']} of {project['name']}."
    context.terminal.result(put, text)


def ls_collaborators(context: Context) -> None:
    """Who works in a project, and as what."""
    project = find_project(context.client, context.arguments.project)
    found = context.client.listing(f"/projects/{project['id']}/collaborators")
    rows = [(each["username"], each["name"], each["permission"]) for each in found]
    text = table(("USER", "NAME", "ROLE"), rows)
    context.terminal.result({"collaborators": found}, text)


def rm_collaborator(context: Context) -> None:
    """Takes a user's role in a project away."""
    project = find_project(context.client, context.arguments.project)
    name = context.arguments.user
    context.client.delete(_collaborator(project, name))
    text = f"{name} has no role in {project['name']} any more."
    context.terminal.result({"removed": name}, text)


def _changed(context: Context, changes: Json) -> Json:
    return context.client.patch(_path(context.arguments.name), changes)


def _path(name: str) -> str:
    return f"/users/{quote(name, safe='')}"


def _collaborator(project: Json, name: str) -> str:
    return f"/projects/{project['id']}/collaborators/{quote(name, safe='')}"


def _standing(user: Json) -> str:
    if user["disabled"]:
        return "disabled"
    return "site administrator" if user["administrator"] else "user"


def _password(user: Json) -> str:
    if not user["has_password"]:
        return "none"
    return "to be changed" if user["must_change_password"] else "yes"
