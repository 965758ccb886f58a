"""The verbs that say who one is: login, logout, whoami."""

from http import HTTPStatus

from gateway.cli.context import Address, CommandFailed, Context, Exit, is_here
from gateway.cli.login_file import Login, login_path, write_login
from gateway.cli.terminal import facts
from gateway.client import ApiError, Client, Json

_MAKE_ONE = "There, `predictd key new --kind api` makes one; or make it in a browser."


def login(context: Context) -> None:
    """Asks for an API key, tries it, and keeps it: commands talk to that gateway from then on."""
    url = context.arguments.address.rstrip("/")
    if url.startswith("http://") and not is_here(url):
        context.terminal.say("Without TLS (https://) everybody on the way can read the key.")
    key = context.terminal.secret(f"API key for {url}").strip()
    if not key:
        raise CommandFailed("No key was given.", _MAKE_ONE, Exit.USAGE)
    try:
        with Address(url).client(key) as client:
            who = client.get("/whoami")
    except ApiError as error:
        if error.status != HTTPStatus.UNAUTHORIZED:
            raise
        message = f"{url} does not know this key, or it is one that only calls models."
        raise CommandFailed(message, _MAKE_ONE, Exit.REFUSED) from error
    path = login_path(context.environment)
    try:
        write_login(path, Login(url, key))
    except OSError as error:
        raise CommandFailed(
            f"The key cannot be kept in {path}: {error.strerror}.",
            "Set PREDICTD_URL and PREDICTD_API_KEY instead.",
            Exit.FAILED,
        ) from error
    context.terminal.result(
        {"url": url, "user": who},
        f"You are {who['username']} at {url}. Commands that name no other gateway talk to this "
        "one; `predictd logout` ends that.",
    )


def logout(context: Context) -> None:
    """Forgets the key; it stays good until it is revoked."""
    url = context.login.url
    login_path(context.environment).unlink(missing_ok=True)
    text = (
        f"The key for {url} is forgotten here. `predictd key revoke` would end it there."
        if url
        else "Nothing to forget: you are not logged in anywhere."
    )
    context.terminal.result({"url": url}, text)


def whoami(context: Context) -> None:
    """Who asks, of which gateway, and by what."""
    who = context.client.get("/whoami")
    about = facts(
        {
            "user": _named(who),
            "e-mail": who["email"],
            "may do": "everything: a site administrator" if who["administrator"] else "",
            "by": who["by"],
            "at": context.client.url,
        }
    )
    context.terminal.result(who, about)


def user_asked_for(context: Context, client: Client) -> str:
    """The user whom a verb is about: the one named, or whoever asks."""
    return str(context.arguments.user or client.get("/whoami")["username"])


def _named(user: Json) -> str:
    name, full_name = user["username"], user["name"]
    return name if full_name == name else f"{name} ({full_name})"
