"""Builds that are not kept are removed by themselves, and little space is told in time."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from gateway.control.disk.free_space import FreeSpace
from gateway.control.operation import OperationTimeouts
from store import Ballast, StartReserve
from tests.support.gateway import Gateway, copy_of, refusal, running, settings_for, until

AT_ONCE = OperationTimeouts(first_collection=0.2, collection_check=0.05)


@asynccontextmanager
async def collecting(data: Path, **settings: int) -> AsyncIterator[Gateway]:
    async with running(settings_for(data, None, **settings), operation_timeouts=AT_ONCE) as gateway:
        yield gateway


async def numbers(gateway: Gateway, model: str) -> list[int]:
    return [each["build_number"] for each in (await gateway.get(f"{model}/builds"))["model_builds"]]


async def test_builds_go_by_themselves_but_for_what_is_referenced(tmp_path: Path) -> None:
    """A model's own limit wins over the site's. What serves and what a rollback takes stays, the
    model answers, the audit log and /site say what went."""
    async with running(settings_for(tmp_path / "data")) as gateway:
        project = await gateway.project(copy_of("add", tmp_path))
        model, other = await gateway.model(project, "one"), await gateway.model(project, "two")
        builds = [await gateway.built(model, "add.py:add") for _ in range(5)]
        await gateway.built(other, "add.py:add")
        await gateway.built(other, "add.py:add")
        for build in (builds[0], builds[1]):
            await gateway.deployed(build)
        answer = await gateway.admin.patch(other, json={"keep_builds": 7})
        assert answer.json()["keep_builds"] == 7
    async with collecting(tmp_path / "data", keep_builds=1) as gateway:
        await until(lambda: numbers(gateway, model), lambda now: now == [1, 2, 5])
        site = await gateway.get("/site")
        await until(lambda: gateway.get("/site"), lambda now: now["last_collection"] is not None)
        site = await gateway.get("/site")
        assert site["last_collection"]["removed"] == 2
        assert await numbers(gateway, other) == [1, 2]
        folders = {each.name for each in (gateway.data / "builds").iterdir()}
        assert len(folders) == 5
        log = await until(
            lambda: gateway.get("/audit", action="garbage.collect"), lambda now: now["entries"]
        )
        assert "2 builds" in log["entries"][0]["detail"]
        assert (await gateway.call(await gateway.key(model), {"a": 1, "b": 2})).status_code == 200
        answer = await gateway.admin.patch(other, json={"keep_builds": -1})
        assert answer.json()["keep_builds"] == -1


async def test_gc_hours_0_removes_nothing(tmp_path: Path) -> None:
    """Then only `predictd gc` does, and what it would remove says why."""
    async with collecting(tmp_path / "data", keep_builds=1, gc_hours=0) as gateway:
        model = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
        for _ in range(2):
            await gateway.built(model, "add.py:add")
        await trio.sleep(1)
        assert await numbers(gateway, model) == [1, 2]
        found = (await gateway.get("/garbage"))["garbage"]
        [old] = [each for each in found if each["kind"] == "build"]
        assert (old["project"], old["number"]) == ("add", 1)
        assert old["reason"] == "beyond the latest 1"
        assert refusal(await gateway.admin.patch(model, json={"keep_builds": 0})) == (
            400,
            "argument.invalid",
        )


async def test_little_space_is_told_before_builds_are_refused(tmp_path: Path) -> None:
    """/site has the level, and `low` refuses nothing."""
    async with running(settings_for(tmp_path / "data", warn_free_disk=1 << 50)) as gateway:
        disk = (await gateway.get("/site"))["disk"]
        assert (disk["level"], disk["warn_below"]) == ("low", 1 << 50)
        model = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
        await gateway.built(model, "add.py:add")
        await gateway.admin.patch("/site/settings", json={"min_free_disk": 1 << 50})
        assert (await gateway.get("/site"))["disk"]["level"] == "full"
        answer = await gateway.admin.post(f"{model}/builds", json={})
        assert answer.status_code != 200


async def test_levels_are_logged_when_they_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once each, with what happens next."""
    room, ballast = StartReserve(tmp_path / "room"), Ballast(tmp_path / "ballast")
    space = FreeSpace(tmp_path, ballast, room, 0)
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("gateway.control.disk.free_space._PERIOD", 0.01)

    async def told() -> list[str]:
        texts = [each.getMessage() for each in caplog.records]
        return [text.partition(" folder")[0] for text in texts if text.startswith("disk.")]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(space.watch)
        for number, (warn, reserve) in enumerate(((1 << 60, 0), (1 << 60, 1 << 60), (0, 0))):
            space.warn_below, space.reserve = warn, reserve
            await until(told, lambda now, most=number: len(now) > most)  # type: ignore[misc]
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    expected = ["disk.low level=low", "disk.low level=full", "disk.recovered"]
    assert await told() == expected
    assert "with less than 0 MiB builds are refused" in caplog.text
    assert not space.is_low
