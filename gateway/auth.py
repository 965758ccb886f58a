"""Who may use the admin API: whoever holds the admin key, made at the first start.

The key lies in the data folder, readable by its owner only, where the CLI on the same machine
finds it. Keys are compared in constant time.
"""

import hmac
import os
import secrets
from base64 import b64decode
from contextlib import suppress
from pathlib import Path

from builder import sync_folder


def load_admin_key(path: Path) -> str:
    """The key in `path`, made if there is none or an empty one. Raises OSError."""
    with suppress(FileNotFoundError):
        # An empty key would be everybody's.
        if key := path.read_text().strip():
            return key
    key = secrets.token_hex(32)
    # Written whole before it has its name, so that no kill leaves half a key.
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, "w") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(fd)
    fresh.replace(path)
    sync_folder(path.parent)
    return key


def bearer(header: str | None) -> str:
    """The token of an Authorization header, or ""."""
    scheme, _, token = (header or "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def token_in(header: str | None) -> str:
    """The key in an Authorization header, or "": a Bearer token, or the user of Basic, by which
    legacy keys are sent."""
    scheme, _, rest = (header or "").strip().partition(" ")
    if scheme.lower() != "basic":
        return bearer(header)
    try:
        return b64decode(rest, validate=True).decode().partition(":")[0]
    except ValueError:
        return ""


def same_key(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
