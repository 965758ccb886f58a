"""Encryption at rest: the secrets in the database, under keys derived from `secret.key`.

It is AES-256-GCM from the `cryptography` package. Each kind of secret has its own key, derived from
`secret.key` by HKDF-SHA256 with the kind as its label. A ciphertext is

    version (1 byte, 1) | nonce (12 random bytes) | AES-GCM of the plaintext (with a 16-byte tag)

and is bound to its owner: the version and the owner's id are associated data. So a ciphertext that
was moved to another row, used as another kind or changed by one bit is not decrypted. A copy of the
database or a backup without `secret.key` shows only the length of each secret.

A ciphertext that cannot be decrypted raises `CannotDecrypt`, whose text is for the operator.
Callers continue without that secret: a site that lost `secret.key` still serves.
"""

import hashlib
import hmac
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# The largest plaintext, in bytes.
LIMIT = 1 << 20
_VERSION = b"\x01"
_NONCE = 12
_TAG = 16


class CannotDecrypt(Exception):
    """The ciphertext is damaged, of another owner, or made with another `secret.key`."""

    def __init__(self, kind: str, owner: str) -> None:
        super().__init__(
            f"the {kind} of {owner} cannot be decrypted: they were encrypted with another "
            "secret.key, or are damaged. Put the secret.key of this database back into the data "
            "folder (each backup has it) and restart the gateway, or set them again"
        )


class Encryption:
    """Encrypts and decrypts with keys derived from one secret, which is kept in memory only."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._ciphers: dict[str, AESGCM] = {}

    def encrypt(self, kind: str, owner: str, plaintext: bytes) -> bytes:
        """The ciphertext of a secret. `kind` is a short label ("variables"), `owner` the id of
        the record that it belongs to. Raises ValueError above LIMIT bytes."""
        if len(plaintext) > LIMIT:
            raise ValueError(f"{kind} take {len(plaintext)} bytes; at most {LIMIT} are kept")
        nonce = os.urandom(_NONCE)
        body = self._cipher(kind).encrypt(nonce, plaintext, _VERSION + owner.encode())
        return _VERSION + nonce + body

    def decrypt(self, kind: str, owner: str, ciphertext: bytes) -> bytes:
        """The plaintext of a secret of this kind and owner. Raises CannotDecrypt."""
        from cryptography.exceptions import InvalidTag

        nonce, body = ciphertext[1 : 1 + _NONCE], ciphertext[1 + _NONCE :]
        if ciphertext[:1] != _VERSION or not _TAG <= len(body) <= LIMIT + _TAG:
            raise CannotDecrypt(kind, owner)
        try:
            return self._cipher(kind).decrypt(nonce, body, _VERSION + owner.encode())
        except InvalidTag as error:
            raise CannotDecrypt(kind, owner) from error

    def keyed_hash(self, kind: str, data: bytes) -> str:
        """HMAC-SHA256 as 64 hexadecimal digits: for names derived from secrets. A plain hash would
        allow guesses of the secret."""
        return hmac.digest(self._key(f"hash of {kind}"), data, hashlib.sha256).hex()

    def _cipher(self, kind: str) -> "AESGCM":
        if kind not in self._ciphers:
            # Imported at the first use: the import takes 30 ms, and a gateway without secrets
            # does not need it.
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            self._ciphers[kind] = AESGCM(self._key(kind))
        return self._ciphers[kind]

    def _key(self, kind: str) -> bytes:
        # One block of HKDF-SHA256 (RFC 5869) without a salt. It uses the standard library, since
        # hashes are made on the loop and the import of `cryptography` takes long.
        extracted = hmac.digest(bytes(32), self._secret, hashlib.sha256)
        return hmac.digest(extracted, f"predictd {kind}".encode() + b"\x01", hashlib.sha256)
