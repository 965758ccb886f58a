"""A snapshot holds what is in the project, also where a path is swapped for a link meanwhile."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from builder.errors import SnapshotFailed
from builder.files.safe_open import Folder, Name
from builder.git.git_store import GitStore
from builder.git.objects import Objects
from builder.snapshot.snapshot import write_out
from tests.support.builder import Bench

SECRET = "the gateway's own key"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A folder beside the project, with a file of each name that the tests use."""
    folder = tmp_path / "secret"
    folder.mkdir()
    for name in ("victim", ".gitignore"):
        (folder / name).write_text(SECRET)
    return folder


def stored(store: Path) -> bytes:
    """The bytes of all objects of a store."""
    command = ["git", "cat-file", "--batch-all-objects", "--batch"]
    done = subprocess.run(command, cwd=store, check=True, capture_output=True)
    return done.stdout


def before_opening(monkeypatch: pytest.MonkeyPatch, name: str, swap: Callable[[], None]) -> None:
    """Has `swap` happen between the look at a file and its opening."""
    real = Folder.open

    def opened(self: Folder, wanted: Name) -> BinaryIO:
        if os.fsdecode(wanted) == name:
            swap()
        return real(self, wanted)

    monkeypatch.setattr(Folder, "open", opened)


def swapped(entry: Path, target: Path) -> None:
    entry.rename(entry.with_name("away"))
    entry.symlink_to(target)


@pytest.mark.parametrize("name", ["victim", ".gitignore"])
async def test_a_file_that_becomes_a_link(
    bench: Bench, secret: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A file that is swapped for a link after it was listed is not read through it."""
    file = bench.write(f"folder/{name}", "harmless")
    before_opening(monkeypatch, name, lambda: swapped(file, secret / name))
    with pytest.raises(SnapshotFailed, match=rf"{name}.* was removed, replaced or changed"):
        await bench.take()
    assert not bench.store.exists() or SECRET.encode() not in stored(bench.store)


async def test_a_folder_that_becomes_a_link(
    bench: Bench, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is a folder that is swapped, at either of the times at which it is entered."""
    bench.write("folder/victim", "harmless")
    real = Folder.folder
    for time in (0, 1):
        entered: list[Sequence[Name]] = []

        def folder(self: Folder, names: Sequence[Name], make: bool = False, time: int = time,
                   entered: list[Sequence[Name]] = entered) -> Folder:  # fmt: skip
            if names:
                if len(entered) == time:
                    swapped(bench.project / "folder", secret)
                entered.append(names)
            return real(self, names, make=make)

        monkeypatch.setattr(Folder, "folder", folder)
        with pytest.raises(SnapshotFailed, match="folder was removed, replaced or changed"):
            await bench.take()
        assert len(entered) == time + 1
        (bench.project / "folder").unlink()
        (bench.project / "away").rename(bench.project / "folder")
    assert SECRET.encode() not in stored(bench.store)


async def test_root_that_becomes_a_link_is_not_opened(bench: Bench, secret: Path) -> None:
    """A project whose folder, or one above it, has become a link is not opened."""
    swapped(bench.project, secret)
    with pytest.raises(SnapshotFailed, match="is not a folder"):
        await bench.take()
    bench.project.unlink()
    above = secret.parent / "above"
    above.symlink_to(secret.parent)
    bench.project = above / "secret"
    with pytest.raises(SnapshotFailed, match="is not a folder"):
        await bench.take()


@contextmanager
def swapping(entry: Path, link: Path) -> Iterator[None]:
    """A thread that swaps an entry and a link, and back, all the time."""
    ended = threading.Event()
    away = entry.with_name(f"{entry.name}-away")

    def swap() -> None:
        while not ended.is_set():
            for old, new in ((entry, away), (link, entry), (entry, link), (away, entry)):
                os.rename(old, new)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


async def test_endless_swaps_leak_no_bytes(bench: Bench, secret: Path, tmp_path: Path) -> None:
    """However often paths are swapped, a snapshot fails or has the project's own bytes."""
    for number in range(20):
        bench.write(f"folder/other-{number}", "harmless")
    file = bench.write("folder/victim", "harmless")
    to_file, to_folder = tmp_path / "to-file", tmp_path / "to-folder"
    to_file.symlink_to(secret / "victim")
    to_folder.symlink_to(secret)
    for entry, link in ((file, to_file), (bench.project / "folder", to_folder)):
        with swapping(entry, link):
            for number in range(30):
                try:
                    snapshot = await bench.take(f"{entry.name}-{number}")
                except SnapshotFailed:
                    continue
                await write_out(snapshot, tmp_path / f"{entry.name}-{number}")
    await bench.take("last")
    assert SECRET.encode() not in stored(bench.store)


async def test_stored_objects_are_those_of_git(bench: Bench) -> None:
    """Our objects are sound to git, and have the names that it gives to the same files."""
    for name in ("a", "a.b", "a0", "z/deep/er", "ä"):
        bench.write(name, f"content of {name}")
    bench.write("a-folder/x", "x", 0o755)
    bench.write("big", os.urandom(3 << 20))
    (bench.project / "link").symlink_to("a")
    snapshot = await bench.take()
    run = GitStore(snapshot.store).run
    run("fsck", "--strict", "--full")
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=bench.project, check=True)
    tree = subprocess.run(
        ["git", "write-tree"], cwd=bench.project, check=True, capture_output=True, text=True
    ).stdout
    assert run("rev-parse", f"{snapshot.commit}^{{tree}}").decode() == tree


async def test_big_file_that_changes_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is too big for memory, and changes between the two reads, is named, and nothing
    of it is stored."""
    file = bench.write("big", b"a" * (3 << 20))

    def has(self: Objects, name: str) -> bool:
        file.write_bytes(b"b" * (3 << 20))
        return False

    monkeypatch.setattr(Objects, "_has", has)
    with pytest.raises(SnapshotFailed, match="big was removed, replaced or changed"):
        await bench.take()
    monkeypatch.undo()
    assert stored(bench.store) == b""
