"""What every verb is given, and how it ends other than well.

Where is the gateway? `--url` or PREDICTD_URL; else, unless a data folder is named, where the user
has logged in; else the address that the running gateway wrote into its data folder (`--data` or
PREDICTD_DATA, else the default one). The key is PREDICTD_API_KEY, else the one of `predictd login`
if it is for that very address, else the data folder's `admin.key`. That file is never read for a
gateway on another machine: its key would be told to a stranger.

A gateway with TLS is known by the certificate that it wrote down beside its address, so none need
name this machine's loopback; with `--url` it is known by what the machine or SSL_CERT_FILE trusts.
"""

import json
from argparse import Namespace
from collections.abc import Mapping
from contextlib import ExitStack
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.cli.login_file import Login, login_path, read_login
from gateway.cli.terminal import Terminal
from gateway.client import Client, ServerUnreachable, trusting

PORT = 8080
HOST = "127.0.0.1"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Exit(IntEnum):
    """The exit codes; scripts rely on them."""

    OK = 0
    FAILED = 1  # what was asked for was tried and failed: a build, a deployment, a model's answer
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    BROKEN = 5  # the gateway itself failed
    INTERRUPTED = 130


class CommandFailed(Exception):
    """The command ends here; `advice` is the user's next step."""

    def __init__(self, message: str, advice: str, exit_code: Exit) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.exit_code = exit_code


class Address(NamedTuple):
    """Where a gateway is, by which certificate (PEM) to know it, and its process, where it wrote
    that down."""

    url: str
    certificate: str = ""
    pid: int | None = None

    def client(self, key: str) -> Client:
        return Client(self.url, key, tls=trusting(self.certificate) if self.certificate else None)


class Context:
    """One command: what was typed, where, and whom to tell; `resources` close when it has ended."""

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
    def login(self) -> Login:
        """Where the user has logged in."""
        path = login_path(self.environment)
        try:
            return read_login(path)
        except (OSError, ValueError) as error:
            raise CommandFailed(
                f"{path} cannot be read: {error}.",
                "Remove it, then log in again with `predictd login URL`.",
                Exit.USAGE,
            ) from error

    @property
    def named(self) -> str:
        """The address of the gateway, where it was named; "": it is the one on this machine."""
        if named := self.arguments.url or self.environment.get("PREDICTD_URL"):
            return str(named)
        return "" if self._named_data else self.login.url

    @property
    def public_url(self) -> str:
        """Where others find the gateway: as it was named, else as it calls itself, which is what
        its certificate is for."""
        return self.client.url if self.named else str(self.client.get("/site")["url"])

    @cached_property
    def client(self) -> Client:
        """The client of the gateway that this command talks to."""
        named = self.named
        address = Address(named) if named else running_address(self.data)
        key = self.environment.get("PREDICTD_API_KEY")
        if not key and named:
            key = self.login.key_for(named)
        if not key and named and not is_here(named):
            raise CommandFailed(
                f"There is no key for the gateway at {named}.",
                f"Log in with `predictd login {named}`, or set PREDICTD_API_KEY to an API key.",
                Exit.USAGE,
            )
        return self.resources.enter_context(address.client(key or admin_key(self.data)))


def running_address(data: Path) -> Address:
    """The address that the gateway on this data folder wrote down; it may have died since."""
    try:
        told = json.loads((data / "gateway.json").read_bytes())
        return Address(str(told["url"]), str(told.get("certificate", "")), int(told["pid"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ServerUnreachable(
            f"No gateway runs on the data folder {data}.",
            "Start it with `predictd serve`, or name another one with --data or --url.",
        ) from None


def answering_address(data: Path) -> Address | None:
    """The address of the gateway on this data folder if it does answer there."""
    try:
        address = running_address(data)
    except ServerUnreachable:
        return None
    with address.client(key="") as client:
        return address if client.alive() else None


def admin_key(data: Path) -> str:
    """The key that the gateway made at its first start; only its owner can read it."""
    try:
        return (data / "admin.key").read_text().strip()
    except OSError as error:
        raise CommandFailed(
            f"The admin key {data / 'admin.key'} cannot be read: {error.strerror}.",
            "Run this as the gateway's user, or set PREDICTD_API_KEY.",
            Exit.USAGE,
        ) from None


def is_here(url: str) -> bool:
    """Whether this names a gateway on this machine."""
    try:
        return urlsplit(url).hostname in LOOPBACK
    except ValueError:
        return False
