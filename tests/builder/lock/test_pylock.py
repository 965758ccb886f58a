"""A lock is valid by PEP 751, is read as it was written, and has no secret of an address."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as some
from packaging.pylock import Pylock

from builder.lock.pylock import (
    MOST_BYTES,
    Lock,
    LockedFile,
    LockedFolder,
    LockedRepository,
    Package,
    UnreadableLock,
    read_lock,
    shown_url,
    write_lock,
)

HASHES = {"sha256": "8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254"}
SIX = Package(
    name="six",
    version="1.16.0",
    sdist=LockedFile(url="https://host/a/six-1.16.0.tar.gz", size=34041, hashes=HASHES),
    wheels=[
        LockedFile(path="wheels/six-1.16.0-py2.py3-none-any.whl", hashes=HASHES),
        LockedFile(url="https://host/b/six-1.16.0-py2.py3-none-any.whl", hashes=HASHES),
    ],
)
EVERY_SOURCE = Lock(
    python="3.11.7",
    packages=[
        SIX,
        Package(name="mine", version="1", directory=LockedFolder(path=".", editable=True)),
        Package(
            name="forked",
            version="2.0",
            vcs=LockedRepository(
                type="git",
                url="ssh://git@host/forked.git",
                requested_revision="main",
                commit_id="ab" * 20,
                subdirectory="python",
            ),
        ),
        Package(
            name="packed",
            version="3",
            archive=LockedFile(url="https://host/packed-3.zip", hashes=HASHES),
        ),
        Package(name="unknown", version="4+local"),
    ],
    unhashed_because='the index said "no"',
)


@pytest.mark.parametrize("lock", [EVERY_SOURCE, Lock(python="3.8.1", packages=[])])
def test_lock_is_valid_and_read_as_written(lock: Lock) -> None:
    """The text is a valid pylock.toml, also of no package, and read again it is the same lock."""
    text = write_lock(lock).text
    valid = Pylock.from_dict(tomllib.loads(text))
    assert {str(each.name) for each in valid.packages} == {
        each.name for each in lock.packages if not each.is_unhashed
    }
    again = read_lock(text)
    assert again.packages == sorted(lock.packages, key=lambda each: each.name)
    assert write_lock(again) == write_lock(lock)
    assert write_lock(lock).packages == len(lock.packages)


@given(some.text())
def test_any_text_is_a_string_of_toml(reason: str) -> None:
    """A string with any characters is the same string when the lock is read."""
    lock = Lock(python="3.11.7", packages=[], unhashed_because=reason)
    assert read_lock(write_lock(lock).text).unhashed_because == reason


@pytest.mark.parametrize(
    "text",
    [
        "",
        "packages = 1",
        "packages = []\n[tool.predictd]\npython = 3",
        'packages = [{ name = "a" }]\n[tool.predictd]\npython = "3"',
        "a = " + "[" * 100_000,
        "#" * (MOST_BYTES + 1),
        "\ud800",
    ],
)
def test_damaged_lock_is_one_error(text: str) -> None:
    """A text that is no lock, or too long, is refused with one error."""
    with pytest.raises(UnreadableLock):
        read_lock(text)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://name:secret@host/simple/x.whl", "https://host/simple/x.whl"),
        ("https://token@host:8080/x.whl?sig=secret#sha256=1", "https://host:8080/x.whl"),
        ("ssh://git@host/x.git", "ssh://git@host/x.git"),
        ("ssh://git:secret@host/x.git", "ssh://host/x.git"),
        ("http://[bad", ""),
    ],
)
def test_address_is_shown_without_secrets(url: str, shown: str) -> None:
    """Names, passwords, queries and fragments of an address are never in a lock."""
    assert shown_url(url) == shown
