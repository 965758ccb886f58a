"""The context of every verb, and how a command fails.

The gateway is the first of these: `--url`, `--context`, PREDICTD_URL, `--data`, PREDICTD_CONTEXT,
PREDICTD_DATA, the current context (see `contexts`). A data folder means the gateway that runs on
it, which wrote its address there; without a current context that is the default folder.

A context has a key of its own, and no other key is sent there. Otherwise the key is
PREDICTD_API_KEY, else that of the context with exactly this address, else the data folder's
`admin.key`, which is never read for a gateway on another machine.

With TLS the gateway is verified by the certificate that it wrote beside its address; its names do
not count. With `--url` it is verified by what the machine or SSL_CERT_FILE trusts.
"""

import json
from argparse import Namespace
from collections.abc import Mapping
from contextlib import ExitStack
from difflib import get_close_matches
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.cli.contexts import LOCAL, Contexts, GatewayContext, contexts_path, read_contexts
from gateway.cli.terminal import Terminal
from gateway.client import Client, Json, ServerUnreachable, trusting
from gateway.suggested_command import suggested

PORT = 8080
HOST = "127.0.0.1"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Exit(IntEnum):
    """The exit codes; scripts rely on them."""

    OK = 0
    FAILED = 1  # the operation failed: a build, a deployment, a prediction
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    BROKEN = 5  # the gateway itself failed
    TIMED_OUT = 124  # as timeout(1)
    INTERRUPTED = 130


class CommandFailed(Exception):
    """The command ends with this error; `advice` is the user's next step."""

    def __init__(self, message: str, advice: str, exit_code: Exit) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.exit_code = exit_code


class Detached(Exception):
    """The command ends here, by `--detach`: the work that it has started is its result."""

    def __init__(self, document: Json, text: str) -> None:
        super().__init__(text)
        self.document = document
        self.text = text


class Address(NamedTuple):
    """The URL of a gateway, its certificate (PEM) and its process id, where they are known."""

    url: str
    certificate: str = ""
    pid: int | None = None

    def client(self, key: str) -> Client:
        return Client(self.url, key, tls=trusting(self.certificate) if self.certificate else None)


class Chosen(NamedTuple):
    """The gateway of a command. Without a URL it is the one on this machine; `key` is the stored
    key of the context."""

    url: str = ""
    key: str = ""
    context: str = LOCAL


class Context:
    """One command: its arguments, terminal and environment. `resources` close when it ends."""

    def __init__(
        self, arguments: Namespace, terminal: Terminal, environment: Mapping[str, str]
    ) -> None:
        self.arguments = arguments
        self.terminal = terminal
        self.environment = environment
        self.resources = ExitStack()

    @cached_property
    def data(self) -> Path:
        """The data folder of the gateway on this machine."""
        if named := self._named_data:
            return Path(named).absolute()
        from gateway.settings import default_data_folder

        return default_data_folder()

    @property
    def _named_data(self) -> str:
        return self.arguments.data or self.environment.get("PREDICTD_DATA") or ""

    @cached_property
    def contexts(self) -> Contexts:
        """The gateways that the user has stored."""
        path = contexts_path(self.environment)
        try:
            return read_contexts(path)
        except (OSError, ValueError) as error:
            raise CommandFailed(
                f"cannot read the contexts in {path}: {error}",
                "remove the file and run `predictd login URL` again",
                Exit.USAGE,
            ) from error

    def find_context(self, name: str) -> GatewayContext:
        """The stored context of this name."""
        if found := self.contexts.find(name):
            return found
        close = get_close_matches(name, [each.name for each in self.contexts.stored], 1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        advice = f"{meant}list them with `predictd context ls`"
        raise CommandFailed(f"context {name!r} does not exist", advice, Exit.USAGE)

    @cached_property
    def gateway(self) -> "Chosen":
        """Which gateway the command uses, and with which stored key."""
        arguments, environment = self.arguments, self.environment
        if arguments.context and (arguments.url or arguments.data):
            other = "--url" if arguments.url else "--data"
            message = f"--context and {other} both name a gateway"
            raise CommandFailed(message, "use one of them", Exit.USAGE)
        if url := arguments.url:
            return Chosen(url, context="")
        if name := arguments.context:
            return self._stored(name)
        if url := environment.get("PREDICTD_URL"):
            return Chosen(url, context="")
        if arguments.data:
            return Chosen()
        if name := environment.get("PREDICTD_CONTEXT"):
            return self._stored(name)
        return Chosen() if self._named_data else self._stored(self.contexts.current)

    def _stored(self, name: str) -> "Chosen":
        if name == LOCAL:
            return Chosen()
        stored = self.find_context(name)
        return Chosen(stored.url, stored.key, name)

    @property
    def named(self) -> str:
        """The address that the user named; "" is the gateway on this machine."""
        return self.gateway.url

    def public_url(self, call_url: str = "") -> str:
        """The address for other machines: the named one, else the gateway's own, for which its
        certificate is valid. `call_url` is a model's URL, if one is known: it saves a request."""
        if self.named:
            return self.client.url
        return call_url.removesuffix("/model") or str(self.client.get("/site")["url"])

    def confirm(self, question: str) -> None:
        """Returns with `--yes` or the user's yes. Raises CommandFailed otherwise."""
        answer = self.arguments.yes or self.terminal.confirm(question)
        if answer is None:
            message = f"this needs a confirmation, and there is no terminal: {question}"
            raise CommandFailed(message, "confirm with --yes", Exit.USAGE)
        if not answer:
            raise CommandFailed("cancelled, nothing was changed", "", Exit.FAILED)

    @cached_property
    def client(self) -> Client:
        """A client of the command's gateway."""
        named, key, _ = self.gateway
        address = Address(named) if named else running_address(self.data)
        key = key or self.environment.get("PREDICTD_API_KEY") or ""
        if not key and named:
            key = self.contexts.key_for(named)
        if not key and named and not is_here(named):
            raise CommandFailed(
                f"no API key for the gateway at {named}",
                f"run {suggested('login', named)}, or set PREDICTD_API_KEY",
                Exit.USAGE,
            )
        return self.resources.enter_context(address.client(key or admin_key(self.data)))


def running_address(data: Path) -> Address:
    """The address in this data folder; its gateway may have died since."""
    try:
        written = json.loads((data / "gateway.json").read_bytes())
        return Address(
            str(written["url"]), str(written.get("certificate", "")), int(written["pid"])
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ServerUnreachable(
            f"no gateway runs on data folder {data}",
            "start one with `predictd serve`, use another machine's with `predictd login URL`, "
            "or name one with --data or --url",
        ) from None


def answering_address(data: Path) -> Address | None:
    """The address of the gateway on this data folder, if it answers."""
    try:
        address = running_address(data)
    except ServerUnreachable:
        return None
    with address.client(key="") as client:
        return address if client.alive() else None


def admin_key(data: Path) -> str:
    """The key of user admin, which the gateway made at its first start. Its file is private."""
    try:
        return (data / "admin.key").read_text().strip()
    except OSError as error:
        raise CommandFailed(
            f"cannot read the admin key {data / 'admin.key'}: {error.strerror}",
            "run this as the gateway's user, or set PREDICTD_API_KEY",
            Exit.USAGE,
        ) from None


def is_here(url: str) -> bool:
    """Whether this URL is of this machine."""
    try:
        return urlsplit(url).hostname in LOOPBACK
    except ValueError:
        return False
