"""Files in the trash can be moved back for a week of serving, also if the clock jumps."""

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from gateway.control.disk.trash import HOURS, Trash


@pytest.fixture
def trash(tmp_path: Path) -> Trash:
    return Trash(tmp_path)


def test_it_lies_there_under_its_path(tmp_path: Path, trash: Trash) -> None:
    """Also when the same path comes twice at the same time."""
    places = []
    for content in ("first", "second"):
        (tmp_path / "logs" / "builds").mkdir(parents=True, exist_ok=True)
        file = tmp_path / "logs" / "builds" / "one.log"
        file.write_text(content)
        places.append(trash.put(file))
        assert not file.exists()
    assert [place.read_text() for place in places] == ["first", "second"]
    assert {str(place.relative_to(place.parents[2])) for place in places} == {"logs/builds/one.log"}
    assert trash.folders() == sorted({place.parents[2] for place in places})


def test_it_stays_for_a_week(tmp_path: Path) -> None:
    """Of serving, by several gateways; a time in its name that is long past removes nothing."""
    (tmp_path / "old").write_text("")
    place = Trash(tmp_path).put(tmp_path / "old")
    place.parent.rename(tmp_path / "trash" / "19700101T000000Z")
    for _ in range(HOURS - 1):
        Trash(tmp_path).grow_older()
    (folder,) = Trash(tmp_path).folders()
    assert sorted(each.name for each in folder.iterdir()) == ["hours", "old"]
    Trash(tmp_path).grow_older()
    assert Trash(tmp_path).folders() == []


async def test_it_grows_older_by_the_hour(trash: Trash, autojump_clock: MockClock) -> None:
    """While the gateway serves, and not when it starts."""
    looks: list[str] = []
    trash.grow_older = lambda: looks.append("look")  # type: ignore[method-assign]
    with trio.move_on_after(1.5 * 3600):
        await trash.watch()
    assert len(looks) == 1


def test_what_its_age_says_is_not_believed(tmp_path: Path, trash: Trash) -> None:
    """An unreadable age counts as none."""
    (tmp_path / "old").write_text("")
    age = trash.put(tmp_path / "old").parent / "hours"
    for content in (b"\xff", b"x", b""):
        age.write_bytes(content)
        trash.grow_older()
        assert age.read_text() == "1\n"
