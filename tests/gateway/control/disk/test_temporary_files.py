"""Uploads wait in the data folder, in files without a name, and leave the reserve of the disk."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from gateway.control.disk import free_space
from gateway.control.disk.free_space import FreeSpace
from gateway.control.disk.temporary_files import TemporaryFiles
from gateway.data_folder import DataFolder
from gateway.set_aside import SetAside
from store import Ballast, StartReserve
from tests.support.gateway import refusal, running, settings_for
from workers.sizes import MIB


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(tmp_path: Path, folder: Path) -> TemporaryFiles:
    made = TemporaryFiles(
        folder,
        FreeSpace(tmp_path, Ballast(tmp_path / "ballast"), StartReserve(tmp_path / "room"), MIB),
    )
    made.prepare(SetAside(DataFolder(tmp_path)))
    return made


def files_of_ours() -> set[str]:
    """Where the files are that this process has open."""
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        try:
            found.add(os.readlink(each))
        except FileNotFoundError:  # the one by which they were listed
            continue
    return found


def test_files_have_no_names(spool: TemporaryFiles, folder: Path) -> None:
    """They are in the folder, which no other user may enter, and end when they are closed."""
    before = files_of_ours()
    with spool.file():
        (new,) = files_of_ours() - before
        assert new.startswith(f"{folder}/")
        assert list(folder.iterdir()) == []
    assert files_of_ours() == before
    assert folder.stat().st_mode & 0o777 == 0o700


def test_leftovers_are_swept(spool: TemporaryFiles, folder: Path, tmp_path: Path) -> None:
    """What a file system without nameless files kept of an earlier gateway goes at the start."""
    (folder / "tmpabc").write_text("left")
    spool.prepare(SetAside(DataFolder(tmp_path)))
    assert list(folder.iterdir()) == []


async def test_an_upload_waits_in_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it comes in nothing of it is in the system's /tmp; below the reserve it is refused in
    its midst, and the project has nothing of it."""
    settings = settings_for(tmp_path / "data", min_free_disk=MIB)
    async with running(settings) as gateway:
        project = await gateway.post("/projects", {"name": "x"})
        files = f"/projects/{project['id']}/files"
        before, seen, gate = files_of_ours(), set[str](), trio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b'--b\r\nContent-Disposition: form-data; name="big"; filename="big"\r\n\r\n'
            for _ in range(3):
                yield b"x" * MIB
            await gate.wait()
            yield b"\r\n--b--\r\n"

        async def look() -> None:
            with trio.fail_after(20):
                while not (new := {f for f in files_of_ours() - before if "deleted" in f}):  # noqa: ASYNC110 - there is no event
                    await trio.sleep(0.01)
            seen.update(new)
            gate.set()

        header = {"Content-Type": "multipart/form-data; boundary=b"}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            answer = await gateway.admin.put(files, content=body(), headers=header)
        assert answer.status_code == 200, answer.text
        spool = f"{(tmp_path / 'data').resolve()}/spool/"
        assert seen
        assert all(each.startswith(spool) for each in seen), seen
        monkeypatch.setattr(free_space, "_inodes", lambda _: 1 << 60)
        big = await gateway.admin.put(files, files={"more": b"x" * 3 * MIB})
        assert refusal(big) == (507, "disk.full")
        listed = (await gateway.get(files))["files"]
        assert "more" not in str(listed)
        assert "big" in str(listed)
