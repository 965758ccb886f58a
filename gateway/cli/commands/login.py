"""The verbs login, logout and whoami."""

from http import HTTPStatus

from gateway.cli.command import Group, argument, command
from gateway.cli.context import Address, CommandFailed, Context, Exit, is_here
from gateway.cli.login_file import Login, login_path, write_login
from gateway.cli.terminal import facts
from gateway.client import ApiError, Json

_CREATE = "create one there with `predictd key create --kind api`, or in a browser"


@command(
    "login",
    "use a gateway on another machine, with an API key",
    argument("address", metavar="URL", help="such as https://models.example.org"),
    local=True,
    examples=["predictd login https://models.example.org"],
    group=Group.ACCESS,
)
def login(context: Context) -> None:
    """Asks for an API key, verifies it and stores it. Later commands use that gateway."""
    url = context.arguments.address.rstrip("/")
    if url.startswith("http://") and not is_here(url):
        context.terminal.say("warning: without TLS (https://) the network can read the key")
    key = context.terminal.secret(f"API key for {url}").strip()
    if not key:
        raise CommandFailed("the API key is empty", _CREATE, Exit.USAGE)
    try:
        with Address(url).client(key) as client:
            who = client.get("/whoami")
    except ApiError as error:
        if error.status != HTTPStatus.UNAUTHORIZED:
            raise
        message = f"{url} does not accept this key for its API"
        raise CommandFailed(message, _CREATE, Exit.REFUSED) from error
    path = login_path(context.environment)
    try:
        write_login(path, Login(url, key))
    except OSError as error:
        raise CommandFailed(
            f"cannot store the key in {path}: {error.strerror}",
            "set PREDICTD_URL and PREDICTD_API_KEY instead",
            Exit.FAILED,
        ) from error
    context.terminal.result(
        {"url": url, "user": who},
        f"Logged in to {url} as {who['username']}. Commands use this gateway until "
        "`predictd logout`, unless they name another one.",
    )


@command(
    "logout",
    "remove the stored key of that gateway",
    local=True,
    examples=["predictd logout"],
    group=Group.ACCESS,
)
def logout(context: Context) -> None:
    """Removes the stored key, which stays valid until it is revoked."""
    url = context.login.url
    login_path(context.environment).unlink(missing_ok=True)
    text = (
        f"Removed the key for {url} here. It stays valid: revoke it with `predictd key revoke`."
        if url
        else "Not logged in."
    )
    context.terminal.result({"url": url}, text)


@command(
    "whoami",
    "show the user and the key of your commands",
    examples=["predictd whoami"],
    group=Group.ACCESS,
)
def whoami(context: Context) -> None:
    """Shows the user and the key of the command's requests."""
    who = context.client.get("/whoami")
    about = facts(
        {
            "user": _user(who),
            "e-mail": who["email"],
            "role": "site administrator" if who["administrator"] else "",
            "by": who["by"],
            "gateway": context.client.url,
        }
    )
    context.terminal.result(who, about)


def _user(user: Json) -> str:
    name, full_name = user["username"], user["name"]
    return name if full_name == name else f"{name} ({full_name})"
