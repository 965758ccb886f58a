"""Uploads wait in the data folder, in files without a name, and leave the reserve of the disk."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from gateway.control import disk
from gateway.control.disk import MIB, Disk
from gateway.errors import Refusal
from gateway.spool import Spool
from store import Ballast
from tests.gateway.kit import refusal, running, settings_for


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path / "spool", Disk(tmp_path, Ballast(tmp_path / "ballast"), MIB))
    made.prepare()
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


def test_large_parts_are_files_without_a_name(spool: Spool) -> None:
    """They lie in the folder, which nobody else may enter, and nothing of them has a name."""
    before = files_of_ours()
    with spool.stream(None, None, "x", None) as stream:
        stream.write(b"x" * 100_000)
        (new,) = files_of_ours() - before
        assert new.startswith(f"{spool.folder}/")
        assert list(spool.folder.iterdir()) == []
        stream.seek(0)
        assert stream.read() == b"x" * 100_000
    assert files_of_ours() == before
    assert spool.folder.stat().st_mode & 0o777 == 0o700


def test_leftovers_are_swept(spool: Spool) -> None:
    """What a file system without nameless files kept of an earlier gateway goes at the start."""
    (spool.folder / "tmpabc").write_text("left")
    spool.prepare()
    assert list(spool.folder.iterdir()) == []


def test_the_reserve_is_left(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that would take it ends with the refusal that says so."""
    stream = spool.stream()
    stream.write(b"x" * MIB)
    spool._disk.reserve = 1 << 60
    stream.write(b"x" * (MIB - 1))
    with pytest.raises(Refusal, match="reserve") as refused:
        stream.write(b"x" * MIB)
    assert refused.value.code == "disk.full"
    stream.close()


async def test_an_upload_waits_in_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it comes in nothing of it is in the system's /tmp; below the reserve it is refused in
    its midst, and the project has nothing of it."""
    settings = settings_for(tmp_path / "data", disk_reserve=MIB)
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
                while not (new := {f for f in files_of_ours() - before if "deleted" in f}):  # noqa: ASYNC110 - the kernel tells nobody
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
        monkeypatch.setattr(disk, "_inodes", lambda _: 1 << 60)
        big = await gateway.admin.put(files, files={"more": b"x" * 3 * MIB})
        assert refusal(big) == (507, "disk.full")
        listed = (await gateway.get(files))["files"]
        assert "more" not in str(listed)
        assert "big" in str(listed)
