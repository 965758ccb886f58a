"""The verbs `predictd user ...`, for site administrators.

A password is typed without echo, or read from stdin: arguments are visible to all users.
"""

from urllib.parse import quote

from gateway.cli.command import argument, command
from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.options import YES
from gateway.cli.terminal import table, when
from gateway.client import Json

_NAME = argument("name", metavar="USER", help="name of the user")


@command(
    "user add",
    "create a user with a random password, which is shown once",
    _NAME,
    argument("--full-name", metavar="TEXT", default=""),
    argument("--email", metavar="ADDRESS", default=""),
    argument("--admin", action="store_true", help="make the user a site administrator"),
    examples=["predictd user add ada --full-name 'Ada Lovelace'"],
)
def add(context: Context) -> None:
    """A new user, with a random password that must be changed at the first sign-in."""
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
        f"Created user {user['username']}. First password, shown only now: {user['password']}\n"
        "It must be changed at the first sign-in.",
    )


@command(
    "user ls",
    "list all users",
    examples=["predictd user ls"],
)
def ls(context: Context) -> None:
    """All users."""
    users = context.client.listing("/users")
    rows = [
        (
            each["username"],
            each["name"],
            each["email"],
            _status(each),
            _password(each),
            when(each["created_at"]),
        )
        for each in users
    ]
    headings = ("USER", "NAME", "E-MAIL", "STATUS", "PASSWORD", "CREATED (UTC)")
    context.terminal.result({"users": users}, table(headings, rows))


@command(
    "user disable",
    "disable a user, with all keys and sessions, at once",
    _NAME,
    examples=["predictd user disable ada"],
)
def disable(context: Context) -> None:
    """Refuses all keys and ends all sessions of a user."""
    user = _change(context, {"disabled": True})
    text = f"Disabled {user['username']}. All keys and sessions are refused."
    context.terminal.result(user, text)


@command(
    "user enable",
    "enable a user again, with the same keys",
    _NAME,
    examples=["predictd user enable ada"],
)
def enable(context: Context) -> None:
    """Accepts the keys of a user again. Sessions that were ended stay ended."""
    user = _change(context, {"disabled": False})
    context.terminal.result(user, f"Enabled {user['username']}, with the same keys.")


@command(
    "user set-admin",
    "make a user a site administrator",
    _NAME,
    argument("--off", action="store_true", help="make them an ordinary user"),
    examples=["predictd user set-admin ada", "predictd user set-admin ada --off"],
)
def set_admin(context: Context) -> None:
    """Makes a user a site administrator, or with `--off` an ordinary user."""
    user = _change(context, {"administrator": not context.arguments.off})
    kind = "a site administrator" if user["administrator"] else "an ordinary user"
    context.terminal.result(user, f"{user['username']} is now {kind}.")


@command(
    "user set-password",
    "set a user's password, typed without echo or read from stdin",
    _NAME,
    argument("--none", action="store_true", help="remove the password: no sign-in with one"),
    examples=["predictd user set-password ada"],
)
def set_password(context: Context) -> None:
    """Sets a user's password, or with `--none` removes it. Ends the user's sessions."""
    terminal, name = context.terminal, context.arguments.name
    new = ""
    if not context.arguments.none:
        new = terminal.secret(f"New password for {name}")
        if not new:
            message = "the password is empty"
            raise CommandFailed(message, "use --none to remove the password", Exit.USAGE)
        if terminal.is_interactive and terminal.secret("Repeat the password") != new:
            raise CommandFailed("the two passwords differ", "try again", Exit.USAGE)
    user = context.client.put(f"{_path(name)}/password", {"password": new})
    text = f"Set the password of {user['username']}"
    if not new:
        text = f"Removed the password of {user['username']}"
    elif user["must_change_password"]:
        text += ", to be changed at the next sign-in"
    context.terminal.result(user, f"{text}. All sessions of the user have ended.")


@command(
    "user rm",
    "delete a user with all keys",
    _NAME,
    YES,
    examples=["predictd user rm ada"],
)
def rm(context: Context) -> None:
    """Deletes a user with all keys."""
    user = context.client.get(_path(context.arguments.name))
    context.confirm(f"Delete user {user['username']} with all keys?")
    context.client.delete(_path(user["username"]))
    text = f"Deleted user {user['username']} with all keys."
    context.terminal.result({"deleted": user["username"]}, text)


def _change(context: Context, changes: Json) -> Json:
    return context.client.patch(_path(context.arguments.name), changes)


def _path(name: str) -> str:
    return f"/users/{quote(name, safe='')}"


def _status(user: Json) -> str:
    if user["disabled"]:
        return "disabled"
    return "site administrator" if user["administrator"] else "user"


def _password(user: Json) -> str:
    if not user["has_password"]:
        return "none"
    return "must change" if user["must_change_password"] else "set"
