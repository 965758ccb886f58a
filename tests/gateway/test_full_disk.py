"""A gateway that was stopped starts again on a disk without any room."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from builder import remove_tree
from store import StartReserve
from tests.faults.matrix import fault
from tests.support.disks import fill, small_disk, use_up_inodes
from tests.support.gateway import copy_of, running, settings_for, until, url_in


@fault(
    "a clean restart on a full disk",
    injection="no bytes or no inodes left, the ballast spent; three times",
    bound="it starts and serves, and the command line finds it",
)
@pytest.mark.parametrize("use_up", [fill, use_up_inodes], ids=["bytes", "inodes"])
async def test_a_clean_restart_on_a_full_disk(
    tmp_path: Path, use_up: Callable[[Path, str], Path]
) -> None:
    """Without the ballast too, and more than once: it reads what there was, and enters its starts
    when there is room again."""
    with small_disk(tmp_path / "disk", "size=60m,nr_inodes=2000") as disk:
        settings = settings_for(disk / "data", min_free_disk=8 << 20)
        async with running(settings) as gateway:
            await gateway.post("/projects", {"name": "own", "template": "blank"})
        shutil.rmtree(gateway.data / "ballast")
        use_up(disk, "filler")
        async with running(settings) as gateway:
            projects = (await gateway.get("/projects"))["projects"]
            assert [each["name"] for each in projects] == ["own"]
            # By which the command line finds the gateway, to make room.
            assert url_in(gateway.data) == gateway.url
        # All of the room is back, for the next one.
        assert len(list((gateway.data / "start-room").iterdir())) == StartReserve.FILES
        use_up(disk, "another")
        async with running(settings) as gateway:
            for each in {*disk.iterdir()} - {gateway.data}:
                remove_tree(each)
            made = await gateway.post("/projects", {"name": "more", "template": "blank"})
            assert made["creation_status"] == "success"
            await until(trio.Path(gateway.data / "ballast").exists, bool)


async def test_history_leaves_the_ballast(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """On a full disk, the history and the request log wait for space; the ballast is for changes.
    Nothing of the counts is lost."""
    with small_disk(tmp_path / "disk", "size=60m") as disk:
        async with running(settings_for(disk / "data", min_free_disk=8 << 20)) as gateway:
            model = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
            key, calls = await gateway.key(model), 0
            filler = fill(disk)
            with trio.fail_after(30):
                while "history.write_failed" not in caplog.text:
                    assert (await gateway.call(key, {})).status_code == 503
                    calls += 1
            assert (gateway.data / "ballast").exists()
            filler.unlink()

            async def counted() -> int:
                history = await gateway.get(f"{model}/history?window=15m")
                return int(history["total"]["requests"])

            await until(counted, lambda now: now == calls)
