"""Files that hold one secret, such as `secret.key`: 64 hexadecimal digits, for their owner."""

import os
import re
import secrets
from pathlib import Path

from store import replace_file

# Random bytes, written as hexadecimal digits.
_SECRET_BYTES = 32
_SECRET = re.compile(rb"[0-9a-f]{64}")
# The longest content of such a file, in bytes.
_SECRET_FILE = 4096


class SecretUnreadable(Exception):
    """A secret file has another content."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path} does not hold 64 hexadecimal digits")


def read_secret(path: Path) -> str:
    """The secret in `path`; "" if the file is missing or empty. Raises SecretUnreadable or
    OSError."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                os.fchmod(file.fileno(), 0o600)
            text = file.read(_SECRET_FILE).strip()
    except FileNotFoundError:
        return ""
    if text and not _SECRET.fullmatch(text):
        raise SecretUnreadable(path)
    return text.decode("ascii")


def make_secret(path: Path) -> str:
    """Writes a new secret to `path` and returns it. On return it is durable. Raises OSError."""
    secret = secrets.token_hex(_SECRET_BYTES)
    replace_file(path, f"{secret}\n".encode())
    return secret
