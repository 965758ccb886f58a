"""A database that was closed can be opened on a full disk, as often as that happens."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from store import Project, StartReserve, StoreFailed, open_database, projects
from tests.faults.matrix import fault
from tests.support.disks import fill, fine_grained_disk, small_disk, use_up_inodes
from tests.support.records import a_project

ROOT = Path(__file__).parents[3]
UsesUp = Callable[[Path, str], Path]


async def served(path: Path, room: StartReserve) -> list[Project]:
    """What a gateway reads that is started and stopped."""
    room.release()
    try:
        async with open_database(path) as database:
            room.allocate()
            return await database.read(projects.list_all)
    finally:
        room.allocate()


@pytest.mark.parametrize("use_up", [fill, use_up_inodes], ids=["bytes", "inodes"])
async def test_start_reserve_exists_at_each_start(tmp_path: Path, use_up: UsesUp) -> None:
    """The reserve exists also when other programs fill the disk during operation, and after each
    stop."""
    with small_disk(tmp_path / "disk", "size=4m,nr_inodes=100") as disk:
        path, room = disk / "predictd.db", StartReserve(disk / "room")
        async with open_database(path) as database:
            await database.write(projects.insert, a_project())
        room.allocate()
        for number in range(4):
            use_up(disk, f"filler-{number}")
            assert len(await served(path, room)) == 1
            assert len(os.listdir(disk / "room")) >= StartReserve.FILES - 9
        use_up(disk, "last")
        room.release()
        use_up(disk, "its room")
        with pytest.raises(StoreFailed):  # so it is this room which it takes
            await served(path, StartReserve(disk / "another"))


@pytest.mark.parametrize("use_up", [fill, use_up_inodes], ids=["bytes", "inodes"])
def test_start_reserve_leaves_what_replicas_need(tmp_path: Path, use_up: UsesUp) -> None:
    """It is allocated only from what is free beyond the bytes and inodes to be left."""
    with small_disk(tmp_path / "disk", "size=4m,nr_inodes=100") as disk:
        room = StartReserve(disk / "room")
        room.allocate()
        use_up(disk, "filler")
        room.release()
        room.allocate(leave_bytes=8 * StartReserve.FILE_BYTES, leave_inodes=8)
        assert len(os.listdir(disk / "room")) == StartReserve.FILES - 8
        room.allocate()
        assert len(os.listdir(disk / "room")) == StartReserve.FILES


READER = """
import sys, trio
from pathlib import Path
import store
from tests.support.disks import fill

async def read():
    async with store.open_database(Path(sys.argv[1]) / "predictd.db") as database:
        fill(Path(sys.argv[1]))
        for _ in range(3):
            assert await database.read(store.projects.list_all) == []

trio.run(read)
"""


@fault(
    "a full disk whose blocks are smaller than pages",
    injection="ext4 with blocks of 1 KiB fills up while the database is open",
    bound="reads go on; no SIGBUS",
)
def test_full_disk_of_small_blocks_causes_no_sigbus(tmp_path: Path) -> None:
    """Where blocks are smaller than pages of memory, a disk that fills does not end the process by
    SIGBUS as it reads."""
    with fine_grained_disk(tmp_path / "disk") as disk:
        command = [sys.executable, "-c", READER, str(disk)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


async def test_start_reserve_takes_the_files_that_fit(tmp_path: Path) -> None:
    """Where the whole reserve does not fit, it takes the files that fit, and the others when there
    is more free space."""
    with small_disk(tmp_path / "disk", "size=64k") as disk:
        room = StartReserve(disk / "room")
        room.allocate()
        taken = os.listdir(disk / "room")
        assert 0 < len(taken) < StartReserve.FILES
        (disk / "room" / taken[0]).unlink()
        room.allocate()
        assert len(os.listdir(disk / "room")) == len(taken)
        room.release()
        assert os.listdir(disk / "room") == []


def test_file_of_the_start_reserve_is_lent(tmp_path: Path) -> None:
    """On a full disk a file of the reserve becomes another one, with its space; where none is left,
    the caller is told."""
    with small_disk(tmp_path / "disk", "size=1m") as disk:
        room = StartReserve(disk / "room")
        room.allocate()
        fill(disk)
        for number in range(StartReserve.FILES):
            room.lend(disk / str(number))
            with (disk / str(number)).open("r+b") as file:
                file.write(b"x" * 4096)
        with pytest.raises(OSError, match="No space left"):
            room.lend(disk / "more")


def test_obstructed_start_reserve_prevents_no_start(tmp_path: Path) -> None:
    """Another kind of file in the place of the reserve does not prevent a start."""
    (tmp_path / "room").touch()
    room = StartReserve(tmp_path / "room")
    room.allocate()
    room.release()
