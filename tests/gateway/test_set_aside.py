"""A file that a start continues without is named, once, until an operator has removed it."""

import os
from pathlib import Path

import pytest

from gateway.cli.commands.status import set_aside_lines
from gateway.data_folder import DataFolder
from gateway.set_aside import SetAside, read_record
from store import StoreFailed
from tests.support.gateway import running, settings_for


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path)


def test_an_error_of_one_thing_ends_nothing_else(data: DataFolder) -> None:
    """It is recorded with what to do, also a mistake of ours; only the database's own failure ends
    the start."""
    found = SetAside(data)
    for error in (PermissionError(1, "not permitted"), KeyError("x")):
        with found.item("a thing", data.root / str(type(error)), "Do this."):
            raise error
    assert [(each.problem, each.advice) for each in found.problems] == [
        ("not permitted", "Do this."),
        ("KeyError: 'x'", "Do this."),
    ]
    with pytest.raises(StoreFailed), found.item("a thing", data.root):
        raise StoreFailed("disk I/O error")


def test_what_was_moved_is_named_until_it_is_gone(data: DataFolder) -> None:
    """Later starts go on naming it, though they meet it no more; what stayed is met again."""
    data.builds.mkdir()
    for name in ("a", "b"):
        (data.builds / name).write_text(name)
    first = SetAside(data)
    first.prepare()
    assert first.move("build a", data.builds / "a", "torn")
    first.note("build b", data.builds / "b", "torn")
    first.save()
    second = SetAside(data)
    second.prepare()
    second.save()
    assert second.problems == read_record(data)
    [moved] = second.problems
    assert (moved.what, moved.problem, Path(moved.path).read_text()) == ("build a", "torn", "a")
    Path(moved.path).unlink()
    third = SetAside(data)
    third.prepare()
    third.save()
    assert third.problems == read_record(data) == []
    assert not data.set_aside_record.exists()


def test_nothing_is_overwritten(data: DataFolder) -> None:
    """What is moved keeps its content, however often its place is damaged."""
    found = SetAside(data)
    for text in ("one", "two"):
        data.isolation.write_text(text)
        found.move("the level", data.isolation, "odd")
    assert sorted(path.read_text() for path in data.set_aside.iterdir()) == ["one", "two"]


def test_the_same_is_told_once(data: DataFolder, caplog: pytest.LogCaptureFixture) -> None:
    """A step that is taken again and again does not fill the log."""
    found = SetAside(data)
    for _ in range(3):
        found.note("an old log", data.root / "x.log", "busy")
    assert len(found.problems) == len(caplog.records) == 1


@pytest.mark.parametrize("content", [b"", b"[{", b"\xff", b"[" * 100_000])
def test_a_record_that_cannot_be_read(data: DataFolder, content: bytes) -> None:
    """It is told as such, and what lies in the folder is named even so."""
    data.set_aside.mkdir()
    (data.set_aside / "x").touch()
    data.set_aside_record.write_bytes(content)
    [told] = read_record(data)
    assert told.path == str(data.set_aside_record)
    found = SetAside(data)
    found.prepare()
    assert [os.path.basename(each.path) for each in found.problems] == ["x"]


async def test_status_names_it(tmp_path: Path) -> None:
    """Site administrators see it where they look first, with what to do."""
    settings = settings_for(tmp_path / "data")
    async with running(settings) as gateway:
        assert (await gateway.get("/site"))["set_aside"] == []
    place = gateway.data / "cache"
    place.write_text("not a folder")
    async with running(settings) as gateway:
        [told] = (await gateway.get("/site"))["set_aside"]
    assert Path(told["path"]).read_text() == "not a folder"
    [_, line] = set_aside_lines([told]).splitlines()
    assert told["path"] in line
    assert told["advice"] in line
