"""Shares between projects: one that takes all it can takes nothing from another."""

import fcntl
from pathlib import Path

import pytest
import trio

from tests.gateway.control.test_builds import add_that_waits
from tests.gateway.control.test_experiments import ended, log_of, project_with, run, that_waits
from tests.gateway.kit import Gateway, copy_of, ended_build, running, settings_for, status_is


async def test_builds_that_sleep(tmp_path: Path) -> None:
    """While one project's builds hold all places and more of them wait, another's is made."""
    async with running(settings_for(tmp_path / "data", concurrent_builds=1)) as gateway:
        greedy, gate = add_that_waits(tmp_path)
        model = await gateway.model(await gateway.project(greedy, "greedy"))
        builds = [await gateway.build(model, "add.py:add") for _ in range(4)]
        await gateway.until(builds[0], status_is("building"))
        (tmp_path / "other").mkdir()
        other = await gateway.project(copy_of("add", tmp_path / "other"), "other")
        await gateway.built(await gateway.model(other), "add.py:add")
        assert [(await gateway.get(each))["status"] for each in builds] == [
            "building",
            *["queued"] * 3,
        ]
        gate.touch()
        for each in builds:
            assert (await gateway.until(each, ended_build))["status"] == "built"


async def test_experiments_that_never_end(tmp_path: Path) -> None:
    """While one project's experiments hold all places and more of them wait, another's runs."""
    async with running(settings_for(tmp_path / "data", concurrent_experiments=1)) as gateway:
        folder, _, _ = that_waits(tmp_path)
        greedy = await gateway.project(folder)
        endless = [await run(gateway, greedy, "wait.py") for _ in range(3)]
        await gateway.until(endless[0], status_is("running"))
        other = await gateway.project(project_with(tmp_path / "other", fit="print('ran')"))
        experiment = await run(gateway, other, "fit.py")
        assert (await ended(gateway, experiment))["status"] == "succeeded"
        assert "ran" in await log_of(gateway, experiment)
        for each in endless[1:]:
            told = await gateway.get(each)
            assert (told["status"], told["waits_for"]) == ("queued", "its turn")
        await gateway.post(f"{endless[0]}:stop")
        await gateway.until(endless[1], status_is("running"))


async def test_snapshots_that_take_long(gateway: Gateway, tmp_path: Path) -> None:
    """While one project's snapshots wait for each other, another's is taken."""
    greedy = await gateway.project(copy_of("add", tmp_path), "greedy")
    model = await gateway.model(greedy)
    await gateway.built(model, "add.py:add")
    (tmp_path / "other").mkdir()
    other = await gateway.project(copy_of("add", tmp_path / "other"), "other")
    store = gateway.data / "snapshots" / f"{greedy.rpartition('/')[2]}.git"
    async with trio.open_nursery() as nursery:
        with (store / "predictd.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for _ in range(8):
                nursery.start_soon(gateway.build, model, "add.py:add")
            await gateway.until(f"{model}/builds", lambda found: len(found["model_builds"]) == 9)
            await gateway.built(await gateway.model(other, "other"), "add.py:add")
            statuses = {
                each["status"] for each in (await gateway.get(f"{model}/builds"))["model_builds"]
            }
            assert statuses == {"built", "pending"}


async def test_clones_that_take_long(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one user's clones hold all places and more of them wait, another user's is made."""

    async def clone(url: str, _ref: str, target: Path, **_more: object) -> None:
        if "endless" in url:
            await trio.sleep_forever()
        target.mkdir(parents=True)

    monkeypatch.setattr("gateway.control.projects.clone", clone)
    keys = {}
    for name in ("ada", "bob"):
        await gateway.post("/users", {"username": name, "password": "a long password"})
        keys[name] = (await gateway.post(f"/users/{name}/v2_keys", {}))["api_key"]

    async def made_by(user: str, name: str) -> str:
        asked = {"name": name, "template": "git", "git_url": f"https://example.com/{name}"}
        headers = {"Authorization": f"Bearer {keys[user]}"}
        made = (await gateway.admin.post("/projects", json=asked, headers=headers)).json()
        return f"/projects/{made['id']}"

    endless = [await made_by("ada", f"endless-{number}") for number in range(6)]
    cloned = await made_by("bob", "quick")
    ended = await gateway.until(cloned, lambda found: found["creation_status"] != "creating")
    assert ended["creation_status"] == "success"
    assert {(await gateway.get(each))["creation_status"] for each in endless} == {"creating"}
