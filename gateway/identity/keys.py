"""The keys of predictd: how they are made and verified.

A model's *access key* says which model is called. It is shown many times, so a hash would not do.
It is derived from `secret.key`, which is not in the database, from the model's id, and from how
often it was regenerated. An *API key* says which user sends a request: `<id>.<secret>`, shown once;
the id and the SHA-256 of the secret are stored. It has 256 random bits, so a slow hash would
protect nothing. A *legacy key* is the same in the old format; its first half is the id.

So a stolen database gives no key of any kind without the file `secret.key`.
"""

import hashlib
import hmac
import secrets
from typing import NamedTuple

from store import Key, KeyKind, User

_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
# So many of a legacy key's 32 characters are its id; the others have 82 random bits.
_LEGACY_ID = 16
_LEGACY = 32
# The digest of nothing: a key is compared with it if its id is unknown.
NO_DIGEST = hashlib.sha256(b"").hexdigest()


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


def access_key(secret: str, model_id: str, rotations: int) -> str:
    """A model's access key: 32 characters of a-z and 0-9, the first an m, as CDSW's are."""
    message = f"access key {rotations} of {model_id}".encode()
    number = int.from_bytes(hmac.digest(secret.encode(), message, "sha256"))
    letters = []
    for _ in range(31):
        number, letter = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[letter])
    return "m" + "".join(letters)


def _letters(count: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(count))
