"""Passwords: hashed slowly, since users choose them."""

import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

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
