"""Keys are random, known again by hashes alone, and in the formats that clients know."""

import re
import stat
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from gateway.identity.keys import access_key, new_key, parse_key, verify
from gateway.identity.passwords import _DECOY, Passwords, new_password
from gateway.identity.secret_file import SecretUnreadable, make_secret, read_secret
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
    shown = parse_key(f" {key.text}\n")
    assert shown.id == key.id
    assert verify(shown, key.digest)
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
        assert not verify(parse_key(text), key.digest), text
    assert not verify(parse_key(key.text), None)
    assert not verify(parse_key(""), None)
    assert not verify(parse_key("."), None)


def test_access_keys() -> None:
    """Each model, generation and secret has its own, always the same, in CDSW's format."""
    secrets = ("one", "two")
    made = {
        access_key(secret, model, generation)
        for secret in secrets
        for model in ("a", "b")
        for generation in range(1, 50)
    }
    assert len(made) == 2 * 2 * 49
    assert all(re.fullmatch("m[0-9a-z]{31}", key) for key in made)
    assert access_key("one", "a", 1) == access_key("one", "a", 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secret.key"


def test_a_secret_is_made_for_its_owner_only(path: Path) -> None:
    """It is long, and only its owner can read it; what was made is read back."""
    secret = make_secret(path)
    assert len(secret) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_secret(path) == secret
    assert [p.name for p in path.parent.iterdir()] == ["secret.key"]


def test_a_secret_that_others_could_read_is_closed(path: Path) -> None:
    """One that was copied here with another mode is for its owner only from then on."""
    path.write_text("ab" * 32)
    path.chmod(0o644)
    assert read_secret(path) == "ab" * 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_a_kill_left_half_written_is_not_used(path: Path) -> None:
    """A half-written file of an earlier start is neither used nor in the way."""
    path.with_name("secret.key.new").write_text("ab")
    assert read_secret(path) == ""
    assert len(make_secret(path)) == 64
    assert [p.name for p in path.parent.iterdir()] == ["secret.key"]


@pytest.mark.parametrize("content", ["", "\n  \n"])
def test_an_empty_file_has_no_secret(path: Path, content: str) -> None:
    """An empty secret would be known to everybody."""
    path.write_text(content)
    assert read_secret(path) == ""


@pytest.mark.parametrize("content", [b"ab" * 31, b"AB" * 32, b"\xff" * 64, b"ab" * 32 + b"\n0"])
def test_what_is_no_secret_is_refused(path: Path, content: bytes) -> None:
    """Half of a secret, and bytes that are none, are not taken for one."""
    path.write_bytes(content)
    with pytest.raises(SecretUnreadable, match=r"secret\.key"):
        read_secret(path)


def test_nobodys_password_takes_as_long() -> None:
    """What is looked at where there is no user was made with the care of today."""
    assert not Passwords().is_outdated(_DECOY)
    assert not Passwords().fits("", "")


def test_passwords() -> None:
    """Only the password matches; an empty hash matches none; a weaker hash is outdated."""
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
