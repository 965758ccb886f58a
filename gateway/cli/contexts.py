"""The file of gateway contexts: names for gateways on other machines, with address and key.

One context can be current: commands that name no gateway use it. `local` always exists and is the
gateway on this machine. Law: a key is sent to the address it was stored with, and to no other. The
file is private to the user.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

LOCAL = "local"


class GatewayContext(NamedTuple):
    """A name for a gateway: its address and an API key for it."""

    name: str
    url: str
    key: str


class Contexts(NamedTuple):
    """All stored contexts. `current` is a name, or `local`."""

    current: str = LOCAL
    stored: tuple[GatewayContext, ...] = ()

    def find(self, name: str) -> GatewayContext | None:
        return next((each for each in self.stored if each.name == name), None)

    def at(self, url: str) -> GatewayContext | None:
        """A context of this address, the current one first."""
        there = [each for each in self.stored if each.url == url.rstrip("/")]
        return max(there, key=lambda each: each.name == self.current, default=None)

    def key_for(self, url: str) -> str:
        """The key that was stored with this address."""
        found = self.at(url)
        return found.key if found else ""

    def with_(self, context: GatewayContext, *, use: bool) -> "Contexts":
        """With one more context, in place of one of its name."""
        kept = [each for each in self.stored if each.name != context.name]
        current = context.name if use else self.current
        return Contexts(current, (*kept, context))

    def without(self, name: str) -> "Contexts":
        """Without the context of this name. The current context is then `local`."""
        current = LOCAL if self.current == name else self.current
        return Contexts(current, tuple(each for each in self.stored if each.name != name))

    def name_for(self, url: str) -> str:
        """The name of a context for this address: its own, else that of the host."""
        found = self.at(url)
        return found.name if found else urlsplit(url).netloc.rpartition("@")[2]


def contexts_path(environment: Mapping[str, str]) -> Path:
    home = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "predictd" / "contexts.json"


def read_contexts(path: Path) -> Contexts:
    """Raises OSError if the file cannot be read, ValueError if it is not a file of contexts."""
    try:
        written = json.loads(path.read_bytes())
        stored = [
            GatewayContext(str(name), str(each["url"]), str(each["key"]))
            for name, each in written["contexts"].items()
        ]
        return Contexts(str(written["current"]), tuple(stored))
    except FileNotFoundError:
        return Contexts()
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("it has no contexts") from error


def write_contexts(path: Path, contexts: Contexts) -> None:
    """Raises OSError. Without contexts there is no file."""
    if not contexts.stored:
        with suppress(FileNotFoundError):
            path.unlink()
        return
    document = {
        "current": contexts.current,
        "contexts": {each.name: {"url": each.url, "key": each.key} for each in contexts.stored},
    }
    write_private(path, json.dumps(document, indent=2))


def write_private(path: Path, text: str) -> None:
    """Raises OSError. The file is private from its creation, and complete when it has its name."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)
