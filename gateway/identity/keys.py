"""The keys and passwords of predictd: how they are made and verified.

A model's *access key* says which model is called. It is shown many times, so it cannot be stored as
a hash. It is derived from `secret.key`, which is not in the database, from the model's id, and from
how often it was regenerated. An *API key* says which user sends a request: `<id>.<secret>`, shown
once; the id and the SHA-256 of the secret are stored. It has 256 random bits, so a slow hash would
protect nothing. A *legacy key* is the same in the old format; its first half is the id. Passwords
are chosen by users, so their hashes are slow.

So a stolen database gives no key of any kind without the file `secret.key`.
"""

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from store import Key, KeyKind, User, replace_file

_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
# So many of a legacy key's 32 characters are its id; the others have 82 random bits.
_LEGACY_ID = 16
_LEGACY = 32
# A secret file has so many random bytes, in hexadecimal digits.
_SECRET_BYTES = 32
_SECRET = re.compile(rb"[0-9a-f]{64}")
# The longest content of such a file, in bytes.
_SECRET_FILE = 4096
# The digest of nothing: a key is compared with it if its id is unknown.
NO_DIGEST = hashlib.sha256(b"").hexdigest()


class SecretUnreadable(Exception):
    """A secret file has another content."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path} does not hold 64 hexadecimal digits")


class GeneratedKey(NamedTuple):
    """`text` is shown to the user once; `id` and `digest` are stored."""

    id: str
    digest: str
    text: str


class PresentedKey(NamedTuple):
    """A key as a request has it."""

    id: str
    digest: str


def new_key(kind: KeyKind) -> GeneratedKey:
    """A new random key."""
    if kind == "legacy":
        identifier, secret = (_letters(n) for n in (_LEGACY_ID, _LEGACY - _LEGACY_ID))
        return GeneratedKey(identifier, digest_of(secret), identifier + secret)
    identifier, secret = secrets.token_hex(32), secrets.token_hex(32)
    return GeneratedKey(identifier, digest_of(secret), f"{identifier}.{secret}")


def parse_key(text: str) -> PresentedKey:
    """Splits the text of a key, valid or not."""
    text = text.strip()
    identifier, dot, secret = text.partition(".")
    if not dot:
        identifier, secret = text[:_LEGACY_ID], text[_LEGACY_ID:]
    return PresentedKey(identifier, digest_of(secret))


def verify(shown: PresentedKey, digest: str | None) -> bool:
    """Whether it is the key with this digest (None: its id is unknown). Takes as long for a wrong
    key as for an unknown one."""
    return hmac.compare_digest(shown.digest, digest or NO_DIGEST) and digest is not None


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def admin_key(text: str, user: User) -> Key:
    """The key in the file `admin.key`, as a key of this user: who can read the data folder acts as
    this user."""
    shown = parse_key(text)
    return Key(id=shown.id, kind="admin", user_id=user.id, digest=shown.digest)


def access_key(secret: str, model_id: str, generation: int) -> str:
    """A model's access key: 32 characters of a-z and 0-9, the first an m, as CDSW's are."""
    message = f"access key {generation} of {model_id}".encode()
    number = int.from_bytes(hmac.digest(secret.encode(), message, "sha256"))
    letters = []
    for _ in range(31):
        number, letter = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[letter])
    return "m" + "".join(letters)


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


# The hash of a password that was thrown away: verified for an unknown user, to take as long.
_DECOY = (
    "$argon2id$v=19$m=65536,t=3,p=4"
    "$CRi3otHFvaW2if3RKM4vow$zmKa9mi0vASdFRFl0eq4QJ+w9rMjC6upUIXHJ0muMVg"
)


class Passwords:
    """Argon2id with the parameters that the library advises: some 50 ms and 64 MiB for each hash,
    by design. So all functions block: call them in a thread, and few at a time. `decoy` is the hash
    that is verified for an unknown user."""

    def __init__(self, hasher: PasswordHasher | None = None, decoy: str = _DECOY) -> None:
        self._hasher = hasher or PasswordHasher()
        self._decoy = decoy

    def hash(self, password: str) -> str:
        return self._hasher.hash(password)

    def fits(self, password: str, kept: str) -> bool:
        """Whether `kept` is the hash of this password ("": the user is unknown)."""
        try:
            return self._hasher.verify(kept or self._decoy, password) and bool(kept)
        except (VerificationError, InvalidHashError):
            return False

    def is_outdated(self, kept: str) -> bool:
        """Whether the hash was made with weaker parameters than are advised today."""
        return self._hasher.check_needs_rehash(kept)


def new_password() -> str:
    """A random password, to be changed by its user; without letters that look alike."""
    return "-".join(
        "".join(secrets.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(5))
        for _ in range(4)
    )


def _letters(count: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(count))
