"""The file of `predictd login`: the address of a gateway on another machine, and an API key for it.

The file is private to the user. While it exists, commands that name no gateway use that one. The
key is sent to exactly that address.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Login(NamedTuple):
    """An address and an API key. Both are empty without a login."""

    url: str = ""
    key: str = ""

    def key_for(self, url: str) -> str:
        """The key, if it belongs to this address."""
        return self.key if url.rstrip("/") == self.url else ""


def login_path(environment: Mapping[str, str]) -> Path:
    home = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "predictd" / "login.json"


def read_login(path: Path) -> Login:
    """Raises OSError if the file cannot be read, ValueError if it is not a login file."""
    try:
        stored = json.loads(path.read_bytes())
        return Login(str(stored["url"]), str(stored["key"]))
    except FileNotFoundError:
        return Login()
    except (KeyError, TypeError) as error:
        raise ValueError("it has no url and key") from error


def write_login(path: Path, login: Login) -> None:
    """Raises OSError. The file is private from its creation, and complete when it has its name."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(login._asdict(), file)
    fresh.replace(path)
