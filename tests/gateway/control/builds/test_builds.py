"""Builds: numbered, queued, recovered, deleted."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import store
from gateway.control.builds import build_task
from store import Database
from tests.support.gateway import (
    Gateway,
    Json,
    copy_of,
    ended_build,
    refusal,
    running,
    settings_for,
    status_is,
    until,
)

WAITS = "echo waiting; while [ ! -e {gate} ]; do sleep 0.02; done\n"


def add_that_waits(folder: Path) -> tuple[Path, Path]:
    """The project `add` whose build script waits for the second path to be there."""
    project, gate = copy_of("add", folder), folder / "gate"
    (project / "cdsw-build.sh").write_text(WAITS.format(gate=gate))
    return project, gate


async def test_build_numbers_ascend_and_are_not_reused(gateway: Gateway, tmp_path: Path) -> None:
    """A model's builds count from 1, and a deleted build's number is not given again."""
    model = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
    first = await gateway.built(model, "add.py:add")
    assert (await gateway.get(first))["build_number"] == 1
    await gateway.delete(first)
    assert (await gateway.get(await gateway.build(model, "add.py:add")))["build_number"] == 2


async def test_deleted_build_frees_its_disk_space(gateway: Gateway, tmp_path: Path) -> None:
    """A single build can be deleted with all its files, but not while it is deployed."""
    model = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
    build = await gateway.built(model, "add.py:add")
    folder = gateway.data / "builds" / (await gateway.get(build))["id"]
    deployment = await gateway.deployed(build)
    assert refusal(await gateway.admin.delete(build)) == (409, "build.inuse")
    assert folder.is_dir()
    await gateway.post(f"{deployment}:stop")
    await gateway.until(deployment, status_is("stopped"))
    await gateway.delete(build)
    assert not folder.exists()
    assert not list((gateway.data / "logs" / "builds").iterdir())
    history = (await gateway.get(f"{model}/deployments"))["model_deployments"]
    assert [(d["build_id"], d["build_number"]) for d in history] == [("", 1)]


async def test_builds_above_the_limit_are_queued(gateway: Gateway, tmp_path: Path) -> None:
    """Two builds are made at once, and a third is queued."""
    project, gate = add_that_waits(tmp_path)
    model = await gateway.model(await gateway.project(project))
    builds = [await gateway.build(model, "add.py:add") for _ in range(3)]

    async def statuses() -> list[str]:
        return sorted([(await gateway.get(build))["status"] for build in builds])

    await until(statuses, lambda now: now == ["building", "building", "queued"])
    gate.touch()
    for build in builds:
        assert (await gateway.until(build, ended_build))["status"] == "built"


async def test_build_has_the_snapshot_of_its_request(gateway: Gateway, tmp_path: Path) -> None:
    """An edit after the snapshot is not in the build."""
    project, gate = add_that_waits(tmp_path)
    model = await gateway.model(await gateway.project(project))
    build = await gateway.build(model, "add.py:add")
    await gateway.until(build, status_is("building"))
    (project / "add.py").write_text("def add(args): return 'edited'\n")
    gate.touch()
    await gateway.until(build, ended_build)
    await gateway.deployed(build)
    answer = await gateway.call(await gateway.key(model), {"a": 1, "b": 2})
    assert answer.json()["response"] == 3


async def test_restart_fails_builds_in_progress_and_continues_queued_ones(tmp_path: Path) -> None:
    """At the next start a build that was being made has failed, and one that waited is made."""
    project, gate = add_that_waits(tmp_path)
    settings = settings_for(tmp_path / "data", max_concurrent_builds=1)
    async with running(settings) as gateway:
        model = await gateway.model(await gateway.project(project))
        builds = [await gateway.build(model, "add.py:add") for _ in range(2)]
        begun = await _one_with(gateway, builds, "building")
        waiting = await _one_with(gateway, builds, "queued")
    gate.touch()
    async with running(settings) as gateway:
        failed = await gateway.get(begun)
        assert failed["status"] == "build failed"
        assert "interrupted" in failed["failure"]["summary"]
        made = await gateway.until(waiting, ended_build)
        assert made["status"] == "built"
        assert {step["state"] for step in made["steps"]} == {"done"}
        folders = [folder.name for folder in (gateway.data / "builds").iterdir()]
        assert folders == [made["id"]]
        again = await gateway.build(model, "add.py:add")
        assert (await gateway.get(again))["build_number"] == 3


async def _one_with(gateway: Gateway, builds: list[str], status: str) -> str:
    async def find() -> str | None:
        for build in builds:
            if (await gateway.get(build))["status"] == status:
                return build
        return None

    return str(await until(find, lambda found: found is not None))


async def test_model_that_builds_can_be_deleted(gateway: Gateway, tmp_path: Path) -> None:
    """A model that is being built can be deleted; nothing of it is left, and its name is free."""
    project, _ = add_that_waits(tmp_path)
    path = await gateway.project(project)
    model = await gateway.model(path, "sum")
    builds = [await gateway.build(model, "add.py:add") for _ in range(3)]
    await _one_with(gateway, builds, "building")
    await gateway.delete(model)
    assert not list((gateway.data / "builds").iterdir())
    again = await gateway.model(path, "sum")
    assert (await gateway.get(f"{again}/builds"))["model_builds"] == []


async def test_failed_build_says_step_problem_and_advice(gateway: Gateway, tmp_path: Path) -> None:
    """A build that fails names the step, the problem and the advice; so does its log."""
    project = copy_of("add", tmp_path)
    (project / "cdsw-build.sh").write_text("echo so far so good\necho no luck >&2\nexit 7\n")
    model = await gateway.model(await gateway.project(project))
    build = await gateway.build(model, "add.py:add")
    ended = await gateway.until(build, ended_build)
    assert ended["status"] == "build failed"
    assert ended["failure"]["step"] == "BUILD_SCRIPT"
    assert all(ended["failure"].values())
    assert [step["state"] for step in ended["steps"]][:4] == [*["done"] * 3, "failed"]
    log = (await gateway.admin.get(f"{build}/log")).text
    assert "so far so good\nno luck\n" in log
    assert ended["failure"]["advice"] in log
    asked = await gateway.admin.post(f"{build}/deployments", json={})
    assert refusal(asked) == (409, "state.conflict")


async def test_model_that_cannot_start_fails_its_build(gateway: Gateway, tmp_path: Path) -> None:
    """PROBE finds a file that cannot be loaded, and the build's log says where."""
    model = await gateway.model(await gateway.project(copy_of("import_error", tmp_path)))
    build = await gateway.build(model, "import_error.py:predict")
    ended: Json = await gateway.until(build, ended_build)
    assert ended["failure"]["step"] == "PROBE"
    assert "ModuleNotFoundError" in ended["failure"]["problem"]
    log = (await gateway.admin.get(f"{build}/log")).text
    assert "ModuleNotFoundError" in log
    assert "import_error.py" in log


async def test_build_with_pipes_and_sockets_serves(gateway: Gateway, tmp_path: Path) -> None:
    """Pipes and sockets that a build script leaves block neither PROBE nor a replica."""
    project = copy_of("add", tmp_path)
    make_socket = "import socket; socket.socket(socket.AF_UNIX).bind('socket')"
    (project / "cdsw-build.sh").write_text(f'mkfifo pipe\npython -c "{make_socket}"\n')
    model = await gateway.model(await gateway.project(project))
    build = await gateway.built(model, "add.py:add")
    code = gateway.data / "builds" / build.rpartition("/")[2] / "code"
    assert (code / "pipe").is_fifo()
    assert (code / "socket").is_socket()
    await gateway.deployed(build)
    answer = await gateway.call(await gateway.key(model), {"a": 3, "b": 5})
    assert answer.json()["response"] == 8


async def test_end_of_a_build_is_written_once_the_disk_accepts_it(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build ends once the disk accepts the write; then those who wait for it are answered."""
    refused = refuse_writes(monkeypatch, "built", "failed")
    for name, function, status in (
        ("add", "add", "built"),
        ("syntax_error", "predict", "build failed"),
    ):
        model = await gateway.model(await gateway.project(copy_of(name, tmp_path)))
        build = await gateway.build(model, f"{name}.py:{function}")
        events = {"Accept": "text/event-stream"}
        told = (await gateway.admin.get(f"{build}/log", headers=events)).text
        assert told.endswith(f'event: end\ndata: {{"status":"{status}"}}\n\n')
        assert (await gateway.get(build))["status"] == status
    assert refused == ["built", "failed"]


def refuse_writes(monkeypatch: pytest.MonkeyPatch, *events: str) -> list[str]:
    """Has the disk refuse each of these events of builds once; returns those refused so far."""
    write, refused = Database.write, list[str]()

    async def refuse_first(
        self: Database, work: Callable[..., Any], *args: Any, **named: Any
    ) -> Any:
        event = args[1] if work == store.builds.advance else ""
        if work == store.builds.finish:
            event = "built"
        if event in events and event not in refused:
            refused.append(event)
            raise store.StoreFailed("no room")
        return await write(self, work, *args, **named)

    monkeypatch.setattr(Database, "write", refuse_first)
    return refused


async def test_build_created_while_its_model_is_deleted_leaves_nothing(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build whose row is gone before it begins leaves neither folder nor log nor row."""
    model = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
    write, run, over = Database.write, build_task.BuildTask.run, trio.Event()

    async def delete_behind(self: Database, work: Any, *args: Any, **named: Any) -> Any:
        value = await write(self, work, *args, **named)
        if work == store.builds.insert:
            await gateway.delete(model)
        return value

    async def run_and_tell(self: build_task.BuildTask) -> None:
        try:
            await run(self)
        finally:
            over.set()

    monkeypatch.setattr(Database, "write", delete_behind)
    monkeypatch.setattr(build_task.BuildTask, "run", run_and_tell)
    asked = {"file_path": "add.py", "function_name": "add", "auto_deploy_model": True}
    answer = await gateway.admin.post(f"{model}/builds", json=asked)
    assert refusal(answer) == (404, "model.notfound")
    with trio.fail_after(20):
        await over.wait()
    assert refusal(await gateway.admin.get(f"{model}/builds")) == (404, "model.notfound")
    for folder in ("builds", "snapshots", "logs/builds"):
        assert not list((gateway.data / folder).glob("*"))


async def test_build_lacks_edits_after_its_response(gateway: Gateway, tmp_path: Path) -> None:
    """An edit right after the response is not in the build."""
    project = copy_of("add", tmp_path)
    model = await gateway.model(await gateway.project(project))
    builds = []
    for number in range(3):
        (project / "add.py").write_text(f"def add(args):\n    return {number}\n")
        builds.append(await gateway.build(model, "add.py:add"))
    for number, build in enumerate(builds):
        await gateway.until(build, ended_build)
        identifier = build.rpartition("/")[2]
        code = gateway.data / "builds" / identifier / "code" / "add.py"
        assert code.read_text().endswith(f"return {number}\n")


NEEDS_ITS_VARIABLES = """
import os
TOKEN, KEY = os.environ["TOKEN"], os.environ["CDSW_APIV2_KEY"]
def predict(args):
    return TOKEN
"""


async def test_probe_sees_what_the_first_deployment_will_see(
    gateway: Gateway, tmp_path: Path
) -> None:
    """A file that reads the variables or the key of its deployment while it loads can be deployed.
    A build without a deployment is probed with those of the present one, if there is one."""
    folder = tmp_path / "needy"
    folder.mkdir()
    (folder / "model.py").write_text(NEEDS_ITS_VARIABLES)
    project = await gateway.project(folder)
    model, other = await gateway.model(project), await gateway.model(project, "other")
    build = await gateway.build(model, "model.py:predict")
    await gateway.deploy(build, environment={"TOKEN": "given"})
    ended = await gateway.until(build, ended_build)
    assert ended["status"] == "built", ended["failure"]
    await gateway.built(model, "model.py:predict")
    ended = await gateway.until(await gateway.build(other, "model.py:predict"), ended_build)
    assert ended["status"] == "build failed"
    assert "KeyError: 'TOKEN'" in ended["failure"]["problem"]


async def test_model_whose_build_is_gone_is_rebuilding(tmp_path: Path) -> None:
    """A deployment that cannot serve until its build is rebuilt is "rebuilding", not "deployed"."""
    settings = settings_for(tmp_path / "data")
    project, gate = add_that_waits(tmp_path)
    gate.touch()
    async with running(settings) as gateway:
        model = await gateway.model(await gateway.project(project))
        deployment = await gateway.deployed(build := await gateway.built(model, "add.py:add"))
        await gateway.get(deployment)
        folder = gateway.data / "builds" / (await gateway.get(build))["id"]
    shutil.rmtree(folder)
    gate.unlink()
    async with running(settings) as gateway:
        assert (await gateway.until(model, status_is("rebuilding")))["replicas_ready"] == 0
        refused = await gateway.call(await gateway.key(model), {})
        assert refusal(refused) == (503, "model.notready")
        assert "is not ready: build 1 is being rebuilt" in refused.text
        gate.touch()
        await gateway.until(model, status_is("deployed"))
