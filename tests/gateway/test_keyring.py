"""Keys are random, known again by hashes alone, and in the formats that clients know."""

import re
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from gateway.keyring import (
    Passwords,
    access_key,
    load_secret,
    matches,
    new_key,
    new_password,
    presented,
)
from store import KeyKind

FORMATS: dict[KeyKind, str] = {
    "api": r"[0-9a-f]{64}\.[0-9a-f]{64}",
    "model": r"[0-9a-f]{64}\.[0-9a-f]{64}",
    "legacy": r"[0-9a-z]{32}",
}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_key_is_known_again(kind: KeyKind) -> None:
    """By its id and the hash of the rest, blanks or not; what is kept does not tell it."""
    key = new_key(kind)
    assert re.fullmatch(FORMATS[kind], key.text)
    shown = presented(f" {key.text}\n")
    assert shown.id == key.id
    assert matches(shown, key.digest)
    assert key.text not in (key.id, key.digest)
    assert key.digest not in key.text


@pytest.mark.parametrize("kind", FORMATS)
def test_no_other_is(kind: KeyKind) -> None:
    """Neither another secret, nor a part, nor more, nor the kept hash, nor nothing."""
    key, other = new_key(kind), new_key(kind)
    wrong = [
        key.text[:-1],
        key.text + "0",
        key.id,
        f"{key.id}.",
        f"{key.id}.{key.digest}",
        key.id + key.digest,
        other.text,
        "",
        ".",
        "\udcff",
    ]
    for text in wrong:
        assert not matches(presented(text), key.digest), text
    assert not matches(presented(key.text), None)
    assert not matches(presented(""), None)
    assert not matches(presented("."), None)


def test_access_keys() -> None:
    """Each model, generation and secret has its own, always the same, in CDSW's format."""
    secrets = (b"one", b"two")
    made = {
        access_key(secret, model, generation)
        for secret in secrets
        for model in ("a", "b")
        for generation in range(1, 50)
    }
    assert len(made) == 2 * 2 * 49
    assert all(re.fullmatch("m[0-9a-z]{31}", key) for key in made)
    assert access_key(b"one", "a", 1) == access_key(b"one", "a", 1)


def test_the_secret_is_made_once(tmp_path: Path) -> None:
    """It is its owner's only, and an empty file is not taken for one."""
    path = tmp_path / "secret.key"
    path.touch()
    secret = load_secret(path)
    assert len(secret) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_secret(path) == secret


def test_passwords() -> None:
    """Only the password fits; nobody's fits nothing; a weaker hash is known as outdated."""
    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    kept = passwords.hash("correct horse")
    assert "correct" not in kept
    assert passwords.fits("correct horse", kept)
    assert not any(passwords.fits(wrong, kept) for wrong in ("", "Correct horse", kept))
    assert not any(passwords.fits(any_, "") for any_ in ("", "correct horse"))
    assert not passwords.fits("correct horse", "no hash")
    assert not passwords.is_outdated(kept)
    assert Passwords().is_outdated(kept)


def test_new_passwords_can_be_typed() -> None:
    """They differ, and have no letters that look alike."""
    made = {new_password() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"([a-hjkmnp-z2-9]{5}-){3}[a-hjkmnp-z2-9]{5}", each) for each in made)
