"""The verbs `predictd key ...`: create, ls, revoke.

A key is shown once, by the command that creates it. Later it is named by the beginning of its id.
"""

from typing import TypeAlias
from urllib.parse import quote

from gateway.cli.arguments import expiry
from gateway.cli.command import OneOf, argument, command
from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.options import YES
from gateway.cli.terminal import table, when
from gateway.client import Client, Json
from gateway.suggested_command import suggested

# The kinds as users type them, with their names in the admin API.
KINDS = {"model": "model_keys", "api": "v2_keys", "legacy": "legacy_keys"}
_USES = {
    "model": "It calls the models that {} may call.",
    "api": "It has all permissions of {}, and calls models.",
    "legacy": "It has all permissions of {}, and calls models, as the user name of HTTP Basic.",
}
# An id has 64 or 16 characters.
_SHOWN = 12
_KIND = argument(
    "--kind",
    choices=KINDS,
    default="model",
    help="model (default): calls models; api: also the admin API; legacy: as api, by HTTP Basic",
)
_USER = argument("--user", metavar="NAME", help="owner of the key (default: you)")

Found: TypeAlias = tuple[str, Json]


@command(
    "key create",
    "create a key, which is shown once",
    _KIND,
    _USER,
    argument(
        "--expires",
        metavar="TIME",
        type=expiry,
        help="30d, 1y, a date such as 2027-01-31, or never (default: 1y)",
    ),
    argument("--comment", metavar="TEXT", default="", help="what the key is for"),
    examples=[
        "predictd key create --comment dashboard",
        "predictd key create --kind api --expires 30d",
    ],
)
def create(context: Context) -> None:
    """Creates a key and shows it, once."""
    arguments, client = context.arguments, context.client
    user = _user(context)
    asked = {"comment": arguments.comment, "expiry_date": arguments.expires or ""}
    key = client.post(_path(user, arguments.kind), asked)
    expires = f"expires {when(key['expiry_date'])} UTC" if key["expiry_date"] else "never expires"
    context.terminal.result(
        key,
        f"{key['api_key']}\n\n{_USES[arguments.kind].format(user)} It {expires} and is shown only "
        f"now. Revoke it with {suggested('key revoke', key['key_id'][:_SHOWN])}.",
    )


@command(
    "key ls",
    "list all keys of a user",
    _USER,
    examples=["predictd key ls", "predictd key ls --user ada"],
)
def ls(context: Context) -> None:
    """All keys of a user, each by the beginning of its id."""
    user = _user(context)
    found = _keys(context.client, user)
    rows = [
        (key["key_id"][:_SHOWN], kind, when(key["created_at"]), _expires(key), key["comment"])
        for kind, key in found
    ]
    text = f"{user} has no keys. Create one with `predictd key create`."
    if rows:
        text = table(("KEY", "KIND", "CREATED (UTC)", "EXPIRES (UTC)", "COMMENT"), rows)
    context.terminal.result({"keys": [{"kind": kind, **key} for kind, key in found]}, text)


@command(
    "key revoke",
    "revoke a key, or all keys of a kind, at once",
    OneOf(
        (
            argument("key", metavar="KEY", nargs="?", help="the beginning of its id"),
            argument("--all", action="store_true", help="all keys of the kind"),
        ),
        required=True,
    ),
    _KIND,
    _USER,
    YES,
    examples=["predictd key revoke 4f1c09", "predictd key revoke --all --kind model"],
)
def revoke(context: Context) -> None:
    """Revokes one key, or with `--all` all of a kind. They are refused when the command returns."""
    arguments, client = context.arguments, context.client
    user = _user(context)
    if arguments.all:
        context.confirm(f"Revoke all {arguments.kind} keys of {user}?")
        client.delete(_path(user, arguments.kind))
        text = f"Revoked all {arguments.kind} keys of {user}."
        return context.terminal.result({"revoked": arguments.kind}, text)
    kind, key = _find_key(_keys(client, user), arguments.key, user)
    client.delete(f"{_path(user, kind)}/{key['key_id']}")
    text = f"Revoked the {kind} key {key['key_id'][:_SHOWN]} of {user}."
    return context.terminal.result({"revoked": key["key_id"]}, text)


def new_model_key(client: Client, comment: str, expires: str) -> str:
    """A new Model API key of the caller."""
    path = _path(client.get("/whoami")["username"], "model")
    return str(client.post(path, {"comment": comment, "expiry_date": expires})["api_key"])


def revoke_model_keys(client: Client, comment: str) -> None:
    """Revokes the caller's Model API keys that have this comment."""
    path = _path(client.get("/whoami")["username"], "model")
    for key in client.listing(path):
        if key["comment"] == comment:
            client.delete(f"{path}/{key['key_id']}")


def _user(context: Context) -> str:
    """The user named by `--user`, else the caller."""
    return str(context.arguments.user or context.client.get("/whoami")["username"])


def _path(user: str, kind: str) -> str:
    return f"/users/{quote(user, safe='')}/{KINDS[kind]}"


def _keys(client: Client, user: str) -> list[Found]:
    return [(kind, key) for kind in KINDS for key in client.listing(_path(user, kind))]


def _find_key(found: list[Found], text: str, user: str) -> Found:
    """The one key whose id begins with the text."""
    fitting = [each for each in found if each[1]["key_id"].startswith(text)]
    if len(fitting) == 1:
        return fitting[0]
    number = "several keys" if fitting else "no key"
    raise CommandFailed(
        f"{user} has {number} with an id that begins with {text!r}",
        "list them with `predictd key ls`",
        Exit.USAGE if fitting else Exit.REFUSED,
    )


def _expires(key: Json) -> str:
    if key["expired"]:
        return f"{when(key['expiry_date'])} (expired)"
    return when(key["expiry_date"]) or "never"
