"""The verbs `predictd key ...` and `predictd model regenerate-key`.

A key is shown once, by the command that makes it, and named by the beginning of its id ever after.
"""

from typing import TypeAlias
from urllib.parse import quote

from gateway.cli.context import CommandFailed, Context, Exit
from gateway.cli.login import user_asked_for
from gateway.cli.lookup import find_model, full_name, model_path
from gateway.cli.models import confirm_or_exit, when
from gateway.cli.terminal import table
from gateway.client import Client, Json

# As one types a kind, and what it is called in the admin API.
KINDS = {"model": "model_keys", "api": "v2_keys", "legacy": "legacy_keys"}
_OPENS = {
    "model": "It calls the models that {} may call.",
    "api": "It does what {} may do, and calls models.",
    "legacy": "It does what {} may do, and calls models, as the user of HTTP Basic.",
}
# Of the 64 or 16 characters of an id; a longer beginning names it as well.
_SHOWN = 12

Found: TypeAlias = tuple[str, Json]


def new(context: Context) -> None:
    """Makes a key and shows it, once."""
    arguments, client = context.arguments, context.client
    user = user_asked_for(context, client)
    asked = {"comment": arguments.comment, "expiry_date": arguments.expires or ""}
    key = client.post(_path(user, arguments.kind), asked)
    until = f"until {when(key['expiry_date'])} UTC" if key["expiry_date"] else "for ever"
    context.terminal.result(
        key,
        f"{key['api_key']}\n\n{_OPENS[arguments.kind].format(user)} It is good {until}, and is "
        f"shown only now. Take it back with `predictd key revoke {key['key_id'][:_SHOWN]}`.",
    )


def ls(context: Context) -> None:
    """All keys of a user; none of them in full."""
    user = user_asked_for(context, context.client)
    found = _keys(context.client, user)
    rows = [
        (
            key["key_id"][:_SHOWN],
            kind,
            when(key["created_at"]),
            _until(key),
            key["comment"],
        )
        for kind, key in found
    ]
    text = f"{user} has no key. Make one with `predictd key new`."
    if rows:
        text = table(("KEY", "KIND", "CREATED (UTC)", "GOOD UNTIL (UTC)", "COMMENT"), rows)
    context.terminal.result({"keys": [{"kind": kind, **key} for kind, key in found]}, text)


def revoke(context: Context) -> None:
    """Takes one key back, or with `--all` all of a kind: from the answer on they open nothing."""
    arguments, client = context.arguments, context.client
    user = user_asked_for(context, client)
    if arguments.all:
        confirm_or_exit(context, f"Revoke all {arguments.kind} keys of {user}?")
        client.delete(_path(user, arguments.kind))
        text = f"All {arguments.kind} keys of {user} are revoked."
        return context.terminal.result({"revoked": arguments.kind}, text)
    kind, key = _meant(_keys(client, user), arguments.key, user)
    client.delete(f"{_path(user, kind)}/{key['key_id']}")
    text = f"The {kind} key {key['key_id'][:_SHOWN]} of {user} is revoked."
    return context.terminal.result({"revoked": key["key_id"]}, text)


def regenerate(context: Context) -> None:
    """A new access key for a model; the old one is none from the answer on."""
    client = context.client
    model = find_model(client, context.arguments.model)
    confirm_or_exit(
        context, f"Give {full_name(model)} a new access key? Who calls it has to be told."
    )
    model = client.post(f"{model_path(model)}:regenerate_key")
    text = f"The access key of {full_name(model)} is now {model['access_key']}."
    context.terminal.result(model, text)


def new_model_key(client: Client, comment: str, expires: str) -> str:
    """A Model API key of whoever asks."""
    path = _path(client.get("/whoami")["username"], "model")
    return str(client.post(path, {"comment": comment, "expiry_date": expires})["api_key"])


def _path(user: str, kind: str) -> str:
    return f"/users/{quote(user, safe='')}/{KINDS[kind]}"


def _keys(client: Client, user: str) -> list[Found]:
    return [(kind, key) for kind in KINDS for key in client.listing(_path(user, kind))]


def _meant(found: list[Found], text: str, user: str) -> Found:
    """The one key whose id begins so."""
    fitting = [each for each in found if each[1]["key_id"].startswith(text)]
    if len(fitting) == 1:
        return fitting[0]
    many = "more than one key" if fitting else "no key"
    raise CommandFailed(
        f"{user} has {many} whose id begins with {text!r}.",
        "`predictd key ls` shows them.",
        Exit.USAGE if fitting else Exit.REFUSED,
    )


def _until(key: Json) -> str:
    if key["expired"]:
        return f"{when(key['expiry_date'])} (expired)"
    return when(key["expiry_date"]) or "for ever"
