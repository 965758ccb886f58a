"""An archive tells whole from damaged by itself, and nothing in it is believed."""

import io
import os
import random
import tarfile
from pathlib import Path
from typing import IO

import msgspec
import pytest

from gateway.control.backup.archive import ArchiveDamaged, read_archive, writing
from gateway.control.backup.archive_members import CONTENTS, END, HEAD, ArchiveMember, Head

A_HEAD = Head(created_at="then", predictd="1", root="/data", machine="x")
Taken = list[tuple[ArchiveMember, int, bytes | None]]


def read(path: Path) -> Taken:
    taken: Taken = []

    def take(entry: ArchiveMember, modified: int, content: IO[bytes] | None) -> None:
        taken.append((entry, modified, None if content is None else content.read(entry.size)))

    read_archive(path, take)
    return taken


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with all that may be in one."""
    tree = tmp_path / "tree"
    (tree / "empty").mkdir(parents=True)
    (tree / "closed").mkdir(mode=0o500)
    (tree / "text").write_text("text")
    (tree / "text").chmod(0o755)
    os.utime(tree / "text", (5, 5))
    (tree / "link").symlink_to("text")
    (tree / "to folder").symlink_to("/usr")
    Path(os.fsdecode(os.fsencode(tree) + b"/no \xff unicode")).write_bytes(b"\0" * 2000)
    os.mkfifo(tree / "pipe")
    return tree


@pytest.fixture
def archive(tree: Path, tmp_path: Path) -> Path:
    path = tmp_path / "archive.tar"
    with path.open("wb") as file, writing(file, A_HEAD, io.BytesIO()) as writer:
        writer.add_bytes("bytes", b"given")
        writer.add_tree("tree", tree)
        writer.add_file("gone", tree / "gone")
    return path


def test_all_comes_back(archive: Path) -> None:
    """Content, mode, time and target of every entry are those that went in."""
    found = {entry.name: (entry, modified, data) for entry, modified, data in read(archive)}
    names = ["closed", "empty", "link", "no \udcff unicode", "text", "to folder"]
    assert list(found) == ["bytes", "tree", *(f"tree/{name}" for name in names)]
    entry, modified, data = found["tree/text"]
    assert (entry.kind, entry.mode, modified, data) == ("file", 0o755, 5, b"text")
    assert found["tree/closed"][0].mode == 0o500
    assert found["tree/to folder"][0].fact == "/usr"
    assert found["tree/no \udcff unicode"][2] == b"\0" * 2000
    assert read_archive(archive).left_out == ["tree/pipe: neither a file nor a folder"]


def test_file_that_several_have_is_in_it_once(tmp_path: Path) -> None:
    """A file of several sealed folders is written before the first of them, and each of them names
    it. One that only the store of files has too is written at its place."""
    store, one, two = (tmp_path / name for name in ("store", "one", "two"))
    for folder in (store, one, two):
        folder.mkdir()
    content = os.urandom(100_000)
    (store / "many").write_bytes(content)
    (store / "few").write_bytes(b"few")
    for folder in (one, two):
        os.link(store / "many", folder / "many")
    os.link(store / "few", one / "few")
    path = tmp_path / "archive.tar"
    with path.open("wb") as file, writing(file, A_HEAD, io.BytesIO()) as writer:
        writer.add_tree("one", one, shared=True)
        writer.add_tree("two", two, shared=True)
    found = {entry.name: (entry, data) for entry, _, data in read(path)}
    assert list(found) == ["one", "one/few", "shared/0", "one/many", "two", "two/many"]
    assert (found["one/few"][1], found["shared/0"][1]) == (b"few", content)
    for name in ("one/many", "two/many"):
        assert (found[name][0].kind, found[name][0].fact) == ("same", "shared/0")
    assert path.stat().st_size < 1.5 * len(content)
    # What a restore takes: each has a copy at first.
    assert read_archive(path).size > 3 * len(content)
    with tarfile.open(path) as tar:  # any other program reads it too
        member = tar.extractfile("two/many")
        assert member is not None
        assert member.read() == content


@pytest.mark.parametrize(("number", "is_read"), [(1, True), (2, True), (3, False)])
def test_formats(tmp_path: Path, number: int, is_read: bool) -> None:
    """A backup of the format before is read; one of a later predictd is refused by its number."""
    path = tmp_path / "archive.tar"
    head = msgspec.structs.replace(A_HEAD, format=number)
    with path.open("wb") as file, writing(file, head, io.BytesIO()) as writer:
        writer.add_bytes("bytes", b"given")
    if is_read:
        assert read_archive(path).head.format == number
    else:
        with pytest.raises(ArchiveDamaged, match="it has format 3; this predictd reads 2"):
            read_archive(path)


def test_a_file_that_becomes_a_link(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is swapped for a link after a look at it is left out, and not read through the link."""
    (tree.parent / "secret").write_text("secret")
    real = os.open

    def opened(path: os.PathLike[str], how: int) -> int:
        if path == tree / "text":
            (tree / "text").unlink()
            (tree / "text").symlink_to(tree.parent / "secret")
        return real(path, how)

    monkeypatch.setattr("gateway.control.backup.archive.os.open", opened)
    with io.BytesIO() as file:
        with writing(file, A_HEAD, io.BytesIO()) as writer:
            writer.add_file("text", tree / "text")
            assert writer.left_out == ["text: it became a link while it was read"]
        assert b"secret" not in file.getvalue()


def test_whatever_is_changed_is_noticed(archive: Path) -> None:
    """A byte changed anywhere, or all cut off from anywhere on, is damage, or changes nothing that
    a reader would see, such as what fills up a block."""
    whole, chance = archive.read_bytes(), random.Random(7)
    right = read(archive)
    end = whole.rindex(END.encode())
    for _ in range(600):
        where = chance.randrange(len(whole))
        changed = bytearray(whole)
        changed[where] ^= 1 << chance.randrange(8)
        archive.write_bytes(changed)
        try:
            assert read(archive) == right
        except ArchiveDamaged:
            continue
    for where in range(0, end, 256):
        archive.write_bytes(whole[:where])
        with pytest.raises(ArchiveDamaged):
            read(archive)


def test_the_damaged_entry_is_named(archive: Path) -> None:
    """Who repairs a disk wants to know what was on it."""
    whole = archive.read_bytes()
    archive.write_bytes(whole.replace(b"given", b"taken"))
    with pytest.raises(ArchiveDamaged, match="bytes is damaged"):
        read_archive(archive)


def test_one_that_was_given_up_says_why(tmp_path: Path) -> None:
    """What ended it on the other side is told here."""
    path = tmp_path / "archive.tar"
    with (
        pytest.raises(OSError, match="no disk"),
        path.open("wb") as file,
        writing(file, A_HEAD, io.BytesIO()),
    ):
        raise OSError("no disk")
    with pytest.raises(ArchiveDamaged, match="given up: no disk"):
        read_archive(path)


@pytest.mark.parametrize("name", ["../out", "/etc/out", "tree/../../out"])
def test_no_name_leads_out(tmp_path: Path, name: str) -> None:
    """An archive from an unknown source writes below its folder only."""
    path = tmp_path / "archive.tar"
    with path.open("wb") as file, writing(file, A_HEAD, io.BytesIO()) as writer:
        writer.add_bytes(name, b"evil")
    with pytest.raises(ArchiveDamaged, match="leads out"):
        read(path)


def test_other_tars_are_refused(tmp_path: Path) -> None:
    """A tar of something else, or a device in one, is no backup."""
    path = tmp_path / "archive.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("file"), io.BytesIO())
    with pytest.raises(ArchiveDamaged, match="no backup of predictd"):
        read_archive(path)
    assert HEAD not in path.read_text(errors="replace")
    assert CONTENTS not in path.read_text(errors="replace")


def test_a_file_that_shrinks_is_told(tmp_path: Path) -> None:
    """A file that gets shorter while it is read costs only itself."""
    growing, path = tmp_path / "growing", tmp_path / "archive.tar"
    growing.write_bytes(b"x" * 3_000_000)

    class Meddler:
        def __init__(self, file: IO[bytes]) -> None:
            self._file = file

        def write(self, data: bytes) -> int:
            os.truncate(growing, 2_500_000)
            return self._file.write(data)

    with path.open("wb") as file, writing(Meddler(file), A_HEAD, io.BytesIO()) as writer:
        writer.add_file("growing", growing)
        writer.add_bytes("after", b"after")
    assert [entry.name for entry, _, _ in read(path)] == ["growing", "after"]
    assert read_archive(path).left_out == ["growing: it became shorter while it was read"]
