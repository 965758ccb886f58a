"""Equal files of sealed environments are one file; nothing else is."""

import errno
import os
import stat
from pathlib import Path

import pytest

from builder.file_store import links
from builder.file_store.links import add_to_store, link_files, prune
from tests.faults.matrix import fault


def share(folder: Path, store: Path) -> None:
    """What a seal does."""
    add_to_store(link_files(folder, store), store)


def environment(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def inode(path: Path) -> int:
    return path.stat().st_ino


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "files/shared"


def test_equal_files_are_one(tmp_path: Path, store: Path) -> None:
    """A file with the content and the mode of another is a link to it."""
    one = environment(tmp_path / "one", {"lib/a.so": b"a" * 9000, "b": b"b"})
    two = environment(tmp_path / "two", {"lib/c.so": b"a" * 9000, "b": b"B"})
    share(one, store)
    share(two, store)
    assert inode(one / "lib/a.so") == inode(two / "lib/c.so")
    assert inode(one / "b") != inode(two / "b")
    assert (two / "lib/c.so").read_bytes() == b"a" * 9000
    assert (two / "b").read_bytes() == b"B"
    assert sorted(path.name for path in two.rglob("*")) == ["b", "c.so", "lib"]


def test_modes_stay(tmp_path: Path, store: Path) -> None:
    """Files with another mode are apart: links have one mode."""
    one = environment(tmp_path / "one", {"script": b"#!/bin/sh\n"})
    two = environment(tmp_path / "two", {"script": b"#!/bin/sh\n"})
    (two / "script").chmod(0o755)
    share(one, store)
    share(two, store)
    assert stat.S_IMODE((one / "script").stat().st_mode) == 0o644
    assert stat.S_IMODE((two / "script").stat().st_mode) == 0o755


def test_odd_files_are_left_alone(tmp_path: Path, store: Path) -> None:
    """Pipes, symbolic links, empty and sparse files, and files with a second name are not
    shared, nor opened for long."""
    one = environment(tmp_path / "one", {"target": b"t", "empty": b"", "first": b"f"})
    os.mkfifo(one / "pipe")
    (one / "link").symlink_to("target")
    (one / "dangling").symlink_to("/proc/self/mem")
    os.link(one / "first", one / "second")
    with (one / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    share(one, store)
    stored = [path for path in store.rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in stored] == [b"t"]
    assert inode(stored[0]) == inode(one / "target")


def test_store_has_only_what_is_sealed(tmp_path: Path, store: Path) -> None:
    """Before the seal, which writes all to the disk, the store gets nothing: a power cut would
    leave an entry without its content."""
    one = environment(tmp_path / "one", {"a": b"a"})
    new = link_files(one, store)
    assert not store.exists()
    add_to_store(new, store)
    assert len([path for path in store.rglob("*") if path.is_file()]) == 1


@fault(
    "a file has as many links as the file system allows",
    injection="EMLINK from link()",
    bound="the next environment brings a new one",
)
def test_full_link_count_starts_a_new_file(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file with too many links is replaced in the store; who has it keeps it."""
    environments = [environment(tmp_path / name, {"a": b"a"}) for name in ("one", "two", "three")]
    one, two, three = environments
    share(one, store)
    link = os.link

    def full(source: Path | str, *more: str, **how: int) -> None:
        if os.stat(source).st_nlink >= 2:
            raise OSError(errno.EMLINK, "Too many links")
        link(source, *more, **how)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", full)
        share(two, store)
    share(three, store)
    assert inode(two / "a") == inode(three / "a") != inode(one / "a")
    assert [(each / "a").read_bytes() for each in environments] == [b"a"] * 3


@fault(
    "the store of shared files cannot take a link",
    injection="another file system, a full disk, no permission",
    bound="the build has its own files",
)
@pytest.mark.parametrize("number", [errno.EXDEV, errno.ENOSPC, errno.EPERM, errno.EDQUOT])
def test_store_that_takes_nothing_is_no_failure(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """An environment that cannot be shared is whole by itself."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    one = environment(tmp_path / "one", {"a": b"a", "b": b"b"})
    monkeypatch.setattr(os, "link", refuse)
    share(one, store)
    assert sorted(path.name for path in one.iterdir()) == ["a", "b"]
    assert (one / "a").read_bytes() == b"a"


def test_file_that_changes_is_not_shared(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that changes while it is read is no entry: its hash would be that of another."""
    one = environment(tmp_path / "one", {"a": b"before"})
    read = os.read

    def meanwhile(file: int, size: int) -> bytes:
        block = read(file, size)
        if not block:
            (one / "a").write_bytes(b"after!")
        return block

    monkeypatch.setattr(os, "read", meanwhile)
    share(one, store)
    assert not store.exists() or not [path for path in store.rglob("*") if path.is_file()]


def test_own_name_of_a_build_is_kept(tmp_path: Path, store: Path) -> None:
    """A build that has files of the names that links get for a moment keeps them."""
    share(environment(tmp_path / "one", {"a": b"a"}), store)
    mine = dict.fromkeys(links._FRESH, b"mine")
    two = environment(tmp_path / "two", {"a": b"a", **mine})
    share(two, store)
    assert all((two / name).read_bytes() == b"mine" for name in mine)
    assert (two / "a").read_bytes() == b"a"


def test_prune_removes_what_nothing_has(tmp_path: Path, store: Path) -> None:
    """An entry goes when its last environment is gone."""
    one = environment(tmp_path / "one", {"a": b"a" * 9000, "b": b"b" * 9000})
    two = environment(tmp_path / "two", {"a": b"a" * 9000})
    share(one, store)
    share(two, store)
    assert prune(store.parent) == 0
    for path in one.iterdir():
        path.unlink()
    assert 9000 <= prune(store.parent) < 18000
    assert [path.read_bytes()[:1] for path in store.rglob("*") if path.is_file()] == [b"a"]
    assert prune(tmp_path / "nowhere") == 0
