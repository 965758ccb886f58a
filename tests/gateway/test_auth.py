"""The admin key: made once, kept to its owner, compared without telling anything."""

import hmac
import stat
from pathlib import Path

import pytest

from gateway.auth import bearer, load_admin_key, same_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "admin.key"


def test_the_key_is_made_once_for_its_owner_only(path: Path) -> None:
    """The first start makes a long key that only its owner can read; later ones keep it."""
    key = load_admin_key(path)
    assert len(key) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_admin_key(path) == key
    assert [p.name for p in path.parent.iterdir()] == ["admin.key"]


def test_what_a_kill_left_half_written_is_not_used(path: Path) -> None:
    """A half-written file of an earlier start is neither used nor in the way."""
    path.with_suffix(".new").write_text("ab")
    assert len(load_admin_key(path)) == 64


@pytest.mark.parametrize("content", ["", "\n  \n"])
def test_an_empty_key_is_no_key(path: Path, content: str) -> None:
    """An empty file would let everybody in, so it is replaced."""
    path.write_text(content)
    assert len(load_admin_key(path)) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("BEARER   abc ", "abc"),
        ("Basic abc", ""),
        ("Bearer", ""),
        ("abc", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_the_token_of_a_header(header: str | None, token: str) -> None:
    """The scheme is Bearer in any case; anything else has no token."""
    assert bearer(header) == token


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is hmac's, and stands text of any kind."""
    asked: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def compare(a: bytes, b: bytes) -> bool:
        asked.append((a, b))
        return real(a, b)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert same_key("k", "k")
    assert not same_key("é\udcff", "k")
    assert not same_key("", "k")
    assert len(asked) == 3
