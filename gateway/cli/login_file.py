"""The one gateway elsewhere that the user has logged in to, and the key for it: a file of theirs.

It lies in the user's folder of settings and is for their eyes only. While it is there, commands
that name no gateway talk to that one. Its key is sent to its very address and to no other.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Login(NamedTuple):
    """Where, and by which API key. Without a login both are empty."""

    url: str = ""
    key: str = ""

    def key_for(self, url: str) -> str:
        """The key, if it is for the gateway at this address."""
        return self.key if url.rstrip("/") == self.url else ""


def login_path(environment: Mapping[str, str]) -> Path:
    home = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "predictd" / "login.json"


def read_login(path: Path) -> Login:
    """Raises OSError where it cannot be read, ValueError where it is none."""
    try:
        told = json.loads(path.read_bytes())
        return Login(str(told["url"]), str(told["key"]))
    except FileNotFoundError:
        return Login()
    except (KeyError, TypeError) as error:
        raise ValueError("it says no url and key") from error


def write_login(path: Path, login: Login) -> None:
    """Raises OSError. Half of it never has its name, and nobody else can ever read it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(login._asdict(), file)
    fresh.replace(path)
