"""Deployments: switched without a gap, superseded, stopped, failed, and all of it at once."""

import logging
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio

import store
from gateway.control.deployments import pool_factory, rollout
from gateway.control.resources import HostResources
from gateway.set_aside import SetAside
from store import Database
from tests.support.gateway import (
    Gateway,
    Json,
    copy_of,
    refusal,
    running,
    settings_for,
    status_is,
    until,
)
from workers.sizes import MIB

FINAL = ("deployed", "stopped", "failed")


def processes_of(gateway: Gateway) -> list[psutil.Process]:
    """The replicas that run, by where they work."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if child.cwd().startswith(str(gateway.data)):
                found.append(child)
        except psutil.Error:
            continue
    return found


async def slow_start(gateway: Gateway, folder: Path) -> tuple[str, str]:
    """A model, and a build of it, whose replicas load as slowly as its variables say."""
    model = await gateway.model(await gateway.project(copy_of("slow_start", folder)))
    return model, await gateway.built(model, "slow_start.py:predict")


async def test_newer_deployment_supersedes_without_a_failed_call(
    gateway: Gateway, tmp_path: Path
) -> None:
    """While deployments follow each other no call fails, and only the newest serves in the end."""
    model = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
    build = await gateway.built(model, "add.py:add")
    key, first = await gateway.key(model), await gateway.deployed(build)
    answers: list[int] = []
    enough = trio.Event()

    async def keep_calling() -> None:
        while not enough.is_set():
            answers.append((await gateway.call(key, {"a": 1, "b": 1})).status_code)

    async with trio.open_nursery() as callers:
        callers.start_soon(keep_calling)
        second = await gateway.deployed(build, replicas=2)
        third = await gateway.deployed(build)
        enough.set()
    assert set(answers) == {200}
    for old in (first, second):
        await gateway.until(old, status_is("stopped"))
    now = await gateway.get(third)
    assert (now["status"], now["deployment_number"]) == ("deployed", 3)
    await until(lambda: _count(gateway), lambda count: count == 1)


async def _count(gateway: Gateway) -> int:
    return len(processes_of(gateway))


async def test_deployment_that_starts_can_be_stopped(gateway: Gateway, tmp_path: Path) -> None:
    """A deployment can be stopped before it is ready; what served before continues."""
    model, build = await slow_start(gateway, tmp_path)
    serving = await gateway.deployed(build)
    slow = await gateway.deploy(build, environment={"SLOW_START_SECONDS": "60"})
    await gateway.until(slow, status_is("deploying"))
    assert (await gateway.post(f"{slow}:stop"))["status"] in ("stopping", "stopped")
    await gateway.until(slow, status_is("stopped"))
    assert (await gateway.get(serving))["status"] == "deployed"
    assert (await gateway.call(await gateway.key(model), 1)).json()["response"] == "awake"
    assert refusal(await gateway.admin.post(f"{slow}:stop")) == (409, "state.conflict")
    assert refusal(await gateway.admin.post(f"{slow}:restart")) == (409, "state.conflict")


async def test_stopped_model_has_no_deployment_that_serves_later(
    gateway: Gateway, tmp_path: Path
) -> None:
    """`:stop` of a model stops deployments that serve, start, or wait for another or for a build.
    None of them serves later."""
    model, build = await slow_start(gateway, tmp_path)
    serving = await gateway.deployed(build)
    slow = await gateway.deploy(build, environment={"SLOW_START_SECONDS": "60"})
    await gateway.until(slow, status_is("deploying"))
    waiting = await gateway.deploy(build)
    later = await gateway.deploy(await gateway.build(model, "slow_start.py:predict"))
    stopped = (await gateway.post(f"{model}:stop"))["model_deployments"]
    assert [each["deployment_number"] for each in stopped] == [1, 2, 3, 4]
    for deployment in (serving, slow, waiting, later):
        await gateway.until(deployment, status_is("stopped"))
    assert (await gateway.get(model))["status"] == "stopped"
    assert (await gateway.post(f"{model}:stop"))["model_deployments"] == []


async def test_deployment_stopped_before_its_pool_opens_has_no_process(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends stopped, has never had a process, and has never served."""
    model = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
    build = await gateway.built(model, "add.py:add")
    reached, go_on = trio.Event(), threading.Event()

    def wait(folder: Path, set_aside: SetAside) -> None:
        trio.from_thread.run_sync(reached.set)
        assert go_on.wait(30)

    monkeypatch.setattr(pool_factory, "prune_logs", wait)
    deployment = await gateway.deploy(build)
    try:
        await reached.wait()
        assert (await gateway.post(f"{deployment}:stop"))["status"] == "stopping"
    finally:
        go_on.set()
    ended = await gateway.until(deployment, status_is("stopped", "failed", "deployed"))
    assert (ended["status"], ended["deployed_at"]) == ("stopped", None)
    assert not processes_of(gateway)
    assert not (gateway.data / "logs" / "models").exists()
    refused = await gateway.call(await gateway.key(model), {"a": 1, "b": 1})
    assert refusal(refused) == (503, "model.notready")


async def test_deployment_that_waits_says_for_what(
    gateway: Gateway,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It says so in the API and once in the log, and can be stopped meanwhile."""
    model, build = await slow_start(gateway, tmp_path)
    other = await gateway.built(
        await gateway.model(model.partition("/models")[0], "other"), "slow_start.py:predict"
    )
    monkeypatch.setattr(HostResources, "free", lambda self: 768 * MIB)
    caplog.set_level(logging.INFO, rollout.__name__)
    starting = await gateway.deploy(
        build, memory=0.5, environment={"SLOW_START_SECONDS": "60"}, replicas=1
    )
    await gateway.until(starting, lambda now: now["status"] == "deploying")
    assert (await gateway.get(starting))["waiting_for"] == ""
    second = await gateway.deploy(other, memory=0.5, replicas=1)
    why = "memory: asked 512 MiB, 768 MiB free, of which models that start may take 512 MiB"
    await gateway.until(second, lambda now: now["waiting_for"] == why)
    third = await gateway.deploy(other, memory=0.5, replicas=1)
    before = "the rollout of another deployment of its model"
    await gateway.until(third, lambda now: now["waiting_for"] == before)
    listed = (await gateway.get(f"{other.partition('/builds')[0]}/deployments"))[
        "model_deployments"
    ]
    assert [each["waiting_for"] for each in listed] == [why, before]
    await gateway.post(f"{second}:stop")
    await gateway.until(second, status_is("stopped"))
    await gateway.until(third, lambda now: now["waiting_for"] == why)
    assert [line for line in caplog.messages if ": memory" in line] == [
        f"deployment.waited number={(await gateway.get(each))['deployment_number']}: {why}"
        for each in (second, third)
    ]
    await gateway.post(f"{starting}:stop")
    await gateway.until(third, status_is("deployed"))


async def test_end_of_a_deployment_is_written_once_the_disk_accepts_it(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its switch, failure and end are written once the disk accepts them."""
    deployments = store.deployments
    refused = {deployments.switch: 1, deployments.fail: 1, deployments.end: 1}
    write = Database.write

    async def refuse_first(
        self: Database, work: Callable[..., Any], *args: Any, **named: Any
    ) -> Any:
        if refused.get(work, 0):
            refused[work] -= 1
            raise store.StoreFailed("no room")
        return await write(self, work, *args, **named)

    model, build = await slow_start(gateway, tmp_path)
    monkeypatch.setattr(Database, "write", refuse_first)
    first = await gateway.deployed(build)
    failed = await gateway.deploy(build, environment={"SLOW_START_SECONDS": "no number"})
    await gateway.until(failed, status_is("failed"))
    assert (await gateway.get(first))["status"] == "deployed"
    await gateway.post(f"{first}:stop")
    await gateway.until(first, status_is("stopped"))
    assert set(refused.values()) == {0}
    await gateway.delete(model)  # waits for all that is carried out


@pytest.mark.parametrize("which_first", ["good", "bad"])
async def test_newer_deployment_whose_build_fails_leaves_the_older(
    gateway: Gateway, tmp_path: Path, which_first: str
) -> None:
    """It fails, and an older deployment of a good build serves, whichever build ends first."""
    project = copy_of("add", tmp_path)
    gates = {"good": tmp_path / "good", "bad": tmp_path / "bad"}
    script = "while [ ! -e {} ]; do sleep 0.02; done; exit {}\n"
    model = await gateway.model(await gateway.project(project))
    paths = {}
    for name, status in (("good", 0), ("bad", 1)):
        (project / "cdsw-build.sh").write_text(script.format(gates[name], status))
        build = await gateway.build(model, "add.py:add")
        await gateway.until(build, status_is("building"))
        paths[name] = await gateway.deploy(build)
    finals = {"good": "deployed", "bad": "failed"}
    for name in (which_first, *(finals.keys() - {which_first})):
        gates[name].touch()
        now = await gateway.until(paths[name], status_is(*FINAL))
        assert now["status"] == finals[name]
    assert (await gateway.get(paths["bad"]))["failure"]["step"] == "BUILD"
    assert (await gateway.get(paths["good"]))["status"] == "deployed"
    answer = await gateway.call(await gateway.key(model), {"a": 3, "b": 5})
    assert answer.json()["response"] == 8


async def test_deployment_that_cannot_start_leaves_the_old_one(
    gateway: Gateway, tmp_path: Path
) -> None:
    """A deployment that fails says why, with the last lines printed, and the old one serves on."""
    project = copy_of("add", tmp_path)
    code = (project / "add.py").read_text()
    check = "import os\nprint('checking')\nif 'BREAK' in os.environ: raise OSError('no luck')\n"
    (project / "add.py").write_text(check + code)
    model = await gateway.model(await gateway.project(project))
    build = await gateway.built(model, "add.py:add")
    serving = await gateway.deployed(build)
    failed = await gateway.deploy(build, environment={"BREAK": "1"})
    now = await gateway.until(failed, status_is("failed"))
    assert now["failure"]["step"] == "START"
    assert "no luck" in now["failure"]["problem"]
    assert "checking" in now["failure"]["problem"]
    assert now["wanted"] == "stop"
    assert (await gateway.get(serving))["status"] == "deployed"
    assert (await gateway.get(model))["status"] == "deployed"
    answer = await gateway.call(await gateway.key(model), {"a": 3, "b": 5})
    assert answer.json()["response"] == 8


async def test_deployment_may_be_created_before_its_build_ends(
    gateway: Gateway, tmp_path: Path
) -> None:
    """It waits for the build, and fails with the build's own reason when that fails."""
    for name, status in (("add", "deployed"), ("import_error", "failed")):
        model = await gateway.model(await gateway.project(copy_of(name, tmp_path)))
        function = "add" if name == "add" else "predict"
        build = await gateway.build(model, f"{name}.py:{function}", auto_deploy_model=True)
        (deployment,) = (await gateway.get(f"{build}/deployments"))["model_deployments"]
        path = f"{build}/deployments/{deployment['id']}"
        now = await gateway.until(path, status_is("deployed", "failed"))
        assert now["status"] == status
        assert status == "deployed" or "ModuleNotFound" in now["failure"]["problem"]


async def test_restart_replaces_every_replica(gateway: Gateway, tmp_path: Path) -> None:
    """A restart gives every replica a new process, says until when it runs, and the deployment
    stays what it was."""
    model = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
    deployment = await gateway.deployed(await gateway.built(model, "add.py:add"), replicas=2)

    async def replicas() -> Json:
        return dict(await gateway.get(f"{model}/replicas"))

    before = {each["pid"] for each in (await replicas())["replicas"]}
    await gateway.post(f"{deployment}:restart")
    assert (await replicas())["restarting"]
    ended = await until(replicas, lambda now: not now["restarting"])
    after = {each["pid"] for each in ended["replicas"]}
    assert len(after) == 2
    assert not after & before
    assert ended["restart_problem"] == ""
    assert (await gateway.get(deployment))["status"] == "deployed"


async def test_wanted_deployment_serves_again_after_a_restart(tmp_path: Path) -> None:
    """What was deployed serves again, a rollout that was cut short is done, and what was stopped
    stays stopped."""
    settings = settings_for(tmp_path / "data")
    async with running(settings) as gateway:
        model, build = await slow_start(gateway, tmp_path)
        stopped = await gateway.deployed(build)
        await gateway.post(f"{stopped}:stop")
        serving = await gateway.deployed(build)
        slow = await gateway.deploy(build, environment={"SLOW_START_SECONDS": "1"})
        await gateway.until(slow, status_is("deploying"))
        key = await gateway.key(model)
    async with running(settings) as gateway:
        assert (await gateway.call(key, 1)).json()["response"] == "awake"
        await gateway.until(slow, status_is("deployed"))
        await gateway.until(serving, status_is("stopped"))
        await gateway.until(stopped, status_is("stopped"))
        await until(lambda: _count(gateway), lambda count: count == 1)


async def test_concurrent_deployments_and_stops_end_consistent(
    gateway: Gateway, tmp_path: Path
) -> None:
    """Deployments, stops and restarts at once end with at most one that serves, every status
    final, and a process for each replica that is said to be there; after deletion, with none."""
    chance = random.Random(7)
    project = await gateway.project(copy_of("add", tmp_path))
    model = await gateway.model(project)
    build = await gateway.built(model, "add.py:add")

    async def history() -> list[Json]:
        path = f"{model}/deployments"
        return list((await gateway.get(path, page_size=100))["model_deployments"])

    async def storm() -> None:
        for _ in range(6):
            await gateway.deploy(build, replicas=chance.randint(1, 2))
            listed = await history()
            verb = chance.choice(("stop", "restart", "stop"))
            target = chance.choice(listed[-4:])["id"]
            answer = await gateway.admin.post(f"{build}/deployments/{target}:{verb}")
            assert answer.status_code in (200, 409), answer.text
            await trio.sleep(chance.random() / 5)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(storm)
    last = await gateway.deployed(build)
    done = await until(history, lambda all_: all(d["status"] in FINAL for d in all_))
    assert [d["id"] for d in done if d["status"] == "deployed"] == [last.rpartition("/")[2]]
    await until(lambda: _count(gateway), lambda count: count == 1)
    key = await gateway.key(model)
    assert (await gateway.call(key, {"a": 3, "b": 5})).json()["response"] == 8

    async def delete() -> None:
        answer = await gateway.admin.delete(model)
        assert answer.status_code in (200, 404), answer.text

    async def deploy() -> None:
        answer = await gateway.admin.post(f"{build}/deployments", json={})
        assert answer.status_code in (200, 404), answer.text

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(deploy)
            nursery.start_soon(delete)
    await until(lambda: _count(gateway), lambda count: count == 0)
    assert refusal(await gateway.call(key, 1)) == (401, "model.accesskey")
    assert not list((gateway.data / "builds").iterdir())
    assert not list((gateway.data / "replicas").iterdir())


async def test_internal_error_ends_the_deployment(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure names the error; the next deployment is rolled out."""

    def broken(folder: Path, set_aside: SetAside) -> None:
        raise RuntimeError("this was not expected")

    model = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
    build = await gateway.built(model, "add.py:add")
    with monkeypatch.context() as patched:
        patched.setattr(pool_factory, "prune_logs", broken)
        failed = await gateway.deploy(build)
        now = await gateway.until(failed, status_is("failed", "deployed"))
    assert now["status"] == "failed"
    assert "this was not expected" in now["failure"]["problem"]
    await gateway.deployed(build)
