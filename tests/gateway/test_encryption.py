"""What is encrypted opens with its own secret, kind and owner only, and as a whole only."""

import re

import pytest

from gateway.encryption import LIMIT, CannotDecrypt, Encryption

SECRET = "5f" * 32


@pytest.fixture
def encryption() -> Encryption:
    return Encryption(SECRET)


@pytest.mark.parametrize("plaintext", [b"", b"x", b"hunter2" * 1000, b"\0" * LIMIT])
def test_what_was_encrypted_is_decrypted(encryption: Encryption, plaintext: bytes) -> None:
    """Also by the next gateway, which knows `secret.key` only; two ciphertexts are never alike."""
    one, two = (encryption.encrypt("variables", "id", plaintext) for _ in range(2))
    assert one != two
    assert len(one) == 1 + 12 + len(plaintext) + 16
    if len(plaintext) > 1:
        assert plaintext not in one
    assert Encryption(SECRET).decrypt("variables", "id", one) == plaintext


@pytest.mark.parametrize(
    ("secret", "kind", "owner"),
    [
        ("60" * 32, "variables", "id"),
        (SECRET, "credentials", "id"),
        (SECRET, "variables", "other"),
        (SECRET, "variables", ""),
        (SECRET, "variablesi", "d"),
    ],
)
def test_nothing_else_opens_it(encryption: Encryption, secret: str, kind: str, owner: str) -> None:
    """Another secret.key, kind or owner is refused with what to do, and without the secret."""
    ciphertext = encryption.encrypt("variables", "id", b"hunter2")
    with pytest.raises(CannotDecrypt, match=r"Put the secret\.key .* back") as caught:
        Encryption(secret).decrypt(kind, owner, ciphertext)
    assert "hunter2" not in str(caught.value)


def test_damage_is_refused(encryption: Encryption) -> None:
    """Each flipped bit, each shorter text, more bytes, an unknown version, and what is too long."""
    ciphertext = encryption.encrypt("variables", "id", b"hunter2")
    flipped = [
        ciphertext[:at] + bytes([ciphertext[at] ^ 1 << bit]) + ciphertext[at + 1 :]
        for at in range(len(ciphertext))
        for bit in range(8)
    ]
    shorter = [ciphertext[:length] for length in range(len(ciphertext))]
    for damaged in [*flipped, *shorter, ciphertext + b"\0", b"\x01" + bytes(LIMIT + 100)]:
        with pytest.raises(CannotDecrypt):
            encryption.decrypt("variables", "id", damaged)


def test_more_than_the_limit_is_not_encrypted(encryption: Encryption) -> None:
    """It could not be decrypted again."""
    with pytest.raises(ValueError, match=f"at most {LIMIT}"):
        encryption.encrypt("variables", "id", bytes(LIMIT + 1))


def test_keyed_hashes(encryption: Encryption) -> None:
    """The same for the same data, kind and secret, and for no others."""
    others = [Encryption("60" * 32), encryption]
    told = encryption.keyed_hash("environment", b"data")
    assert re.fullmatch("[0-9a-f]{64}", told)
    assert told == Encryption(SECRET).keyed_hash("environment", b"data")
    assert told not in [other.keyed_hash("environment", b"datb") for other in others]
    assert told != others[0].keyed_hash("environment", b"data")
    assert told != encryption.keyed_hash("environments", b"data")
