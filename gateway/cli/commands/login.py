"""The verbs login, logout and whoami, and `predictd context ...`: ls, use, add, rm.

A context is a gateway on another machine, with an API key for it. A key is typed without echo and
verified before it is stored.
"""

from http import HTTPStatus

from gateway.cli.command import Group, argument, command
from gateway.cli.context import Address, CommandFailed, Context, Exit, is_here
from gateway.cli.contexts import LOCAL, Contexts, GatewayContext, contexts_path, write_contexts
from gateway.cli.terminal import facts, table
from gateway.client import ApiError, Json
from gateway.suggested_command import suggested

_CREATE = (
    "create one there in a browser or with `predictd key create --kind api`; an administrator "
    "creates one for a user with `--user NAME`"
)
_URL = argument("address", metavar="URL", help="such as https://models.example.org")
_NAME = argument("name", metavar="CONTEXT", help="its name")


@command(
    "login",
    "use a gateway on another machine, with an API key",
    _URL,
    argument("--name", metavar="NAME", help="name of the context (default: the host of the URL)"),
    local=True,
    examples=[
        "predictd login https://models.example.org",
        "predictd login https://staging.example.org --name staging",
    ],
    group=Group.ACCESS,
)
def login(context: Context) -> None:
    """Asks for an API key, verifies it and stores it. Later commands use that gateway."""
    name, url = context.arguments.name, context.arguments.address.rstrip("/")
    who, name = _add(context, name or context.contexts.name_for(url), url, use=True)
    context.terminal.result(
        {"context": name, "url": url, "user": who},
        f"Logged in to {url} as {who['username']}, context {name!r}. Commands use this gateway "
        "until `predictd logout` or `predictd context use`, unless they name another one.",
    )


@command(
    "logout",
    "remove the current context with its key",
    local=True,
    examples=["predictd logout"],
    group=Group.ACCESS,
)
def logout(context: Context) -> None:
    """Removes the stored key of the current context, which stays valid until it is revoked."""
    current = context.contexts.find(context.contexts.current)
    if current is None:
        context.terminal.result({"url": ""}, "Not logged in.")
        return
    _write(context, context.contexts.without(current.name))
    text = (
        f"Removed context {current.name!r} with its key for {current.url}. The key stays valid: "
        "revoke it with `predictd key revoke`."
    )
    context.terminal.result({"context": current.name, "url": current.url}, text)


@command(
    "whoami",
    "show the user, the key and the gateway of your commands",
    examples=["predictd whoami", "predictd whoami --context staging"],
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
            "context": context.gateway.context,
        }
    )
    context.terminal.result(who, about)


@command(
    "context ls",
    "list the gateways that commands can use",
    local=True,
    examples=["predictd context ls"],
)
def ls(context: Context) -> None:
    """The contexts by name, the current one with a star. No key is shown."""
    contexts = context.contexts
    found = [
        {"name": LOCAL, "url": "", "current": contexts.current == LOCAL},
        *(
            {"name": each.name, "url": each.url, "current": contexts.current == each.name}
            for each in sorted(contexts.stored)
        ),
    ]
    rows = [
        ("*" if each["current"] else "", each["name"], each["url"] or "the gateway on this machine")
        for each in found
    ]
    context.terminal.result({"contexts": found}, table(("", "CONTEXT", "GATEWAY"), rows))


@command(
    "context use",
    "use another gateway from now on",
    argument("name", metavar="CONTEXT", help="its name, or `local`"),
    local=True,
    examples=["predictd context use staging", "predictd context use local"],
)
def use(context: Context) -> None:
    """Makes a context the current one."""
    name = context.arguments.name
    url = "the gateway on this machine" if name == LOCAL else context.find_context(name).url
    _write(context, context.contexts._replace(current=name))
    context.terminal.result({"context": name}, f"Commands use {url} now, context {name!r}.")


@command(
    "context add",
    "store a gateway and an API key for it",
    _NAME,
    _URL,
    local=True,
    examples=["predictd context add staging https://staging.example.org"],
)
def add(context: Context) -> None:
    """Asks for an API key, verifies it and stores it. The current context stays."""
    name, url = context.arguments.name, context.arguments.address.rstrip("/")
    who, name = _add(context, name, url, use=False)
    context.terminal.result(
        {"context": name, "url": url, "user": who},
        f"Added context {name!r}: {url} as {who['username']}. Use it with --context, or with "
        f"{suggested('context use', name)}.",
    )


@command(
    "context rm",
    "remove a context with its key",
    _NAME,
    local=True,
    examples=["predictd context rm staging"],
)
def rm(context: Context) -> None:
    """Removes a context. Its key stays valid until it is revoked."""
    name = context.find_context(context.arguments.name).name
    _write(context, context.contexts.without(name))
    text = f"Removed context {name!r}. Its key stays valid until it is revoked there."
    context.terminal.result({"removed": name}, text)


def _add(context: Context, name: str, url: str, *, use: bool) -> tuple[Json, str]:
    """Asks for a key, verifies and stores it; returns its user and the name of the context."""
    existing = context.contexts.find(name)
    if name == LOCAL or (existing and existing.url != url):
        taken = existing.url if existing else "the gateway on this machine"
        message = f"context {name!r} is {taken}"
        raise CommandFailed(message, "choose another name", Exit.USAGE)
    if url.startswith("http://") and not is_here(url):
        context.terminal.say("warning: without TLS (https://) the network can read the key")
    _check_address(url)
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
    _write(context, context.contexts.with_(GatewayContext(name, url, key), use=use))
    return who, name


def _check_address(url: str) -> None:
    """Fails before the key is asked for where no gateway answers at this address."""
    try:
        with Address(url).client("") as client:
            client.get("/whoami")
    except ApiError as error:
        if error.status != HTTPStatus.UNAUTHORIZED:
            raise


def _write(context: Context, contexts: Contexts) -> None:
    path = contexts_path(context.environment)
    try:
        write_contexts(path, contexts)
    except OSError as error:
        raise CommandFailed(
            f"cannot write {path}: {error.strerror}",
            "set PREDICTD_URL and PREDICTD_API_KEY instead",
            Exit.FAILED,
        ) from error


def _user(user: Json) -> str:
    name, full_name = user["username"], user["name"]
    return name if full_name == name else f"{name} ({full_name})"
