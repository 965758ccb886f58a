"""Cancelling: a build ends with the deployments that wait for it, and nothing of it is left."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

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

CANCELLED = "The build was cancelled"


def project_that_waits(folder: Path) -> tuple[Path, Path, Path]:
    """A project whose build script starts a process of its own and waits for a gate: project, gate
    and the file that has the pids."""
    project, gate, pids = copy_of("add", folder), folder / "gate", folder / "pids"
    (project / "cdsw-build.sh").write_text(
        f"(trap '' TERM; echo $BASHPID >> {pids}; while [ ! -e {gate} ]; do sleep 0.02; done) &\n"
        f"echo $$ >> {pids}\nwait\n"
    )
    return project, gate, pids


async def _begun(pids: Path) -> list[int]:
    async def read() -> list[int]:
        return [int(line) for line in pids.read_text().split()] if pids.exists() else []

    return list(await until(read, lambda found: len(found) == 2))


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_cancelled_build_leaves_nothing_and_the_model_serves(
    gateway: Gateway, tmp_path: Path
) -> None:
    """Nothing of a cancelled build runs or is on the disk; its deployment fails with the reason,
    and the one that serves is not touched."""
    project, gate, pids = project_that_waits(tmp_path)
    gate.touch()
    model = await gateway.model(await gateway.project(project))
    first = await gateway.built(model, "add.py:add")
    serving = await gateway.deployed(first)
    gate.unlink()
    pids.unlink()
    with (project / "cdsw-build.sh").open("a") as script:
        script.write("# else the environment of the first build is used\n")
    build = await gateway.build(model, "add.py:add")
    waiting = await gateway.deploy(build)
    processes = await _begun(pids)
    cancelled = await gateway.post(f"{build}:cancel")
    assert not any(map(_runs, processes))
    assert [each.name for each in (gateway.data / "builds").iterdir()] == [first.split("/")[-1]]
    for shown in (cancelled, await gateway.get(build)):
        assert (shown["status"], shown["cancelled_by"]) == ("build failed", "admin")
        assert (shown["failure"]["summary"], shown["failure"]["step"]) == (
            CANCELLED,
            "BUILD_SCRIPT",
        )
        states = {step["name"]: step["state"] for step in shown["steps"]}
        assert (states["BUILD_SCRIPT"], states["PROBE"]) == ("failed", "waiting")
    ended = await gateway.get(waiting)
    assert (ended["status"], ended["failure"]["summary"]) == ("failed", "Build 2 was cancelled")
    assert (await gateway.get(serving))["status"] == "deployed"
    answer = await gateway.call(await gateway.key(model), {"a": 1, "b": 2})
    assert answer.json()["response"] == 3
    log = (await gateway.admin.get(f"{build}/log")).text
    assert log.splitlines()[-1] == "The build was cancelled: user 'admin' cancelled it"
    assert refusal(await gateway.admin.post(f"{build}:cancel")) == (409, "state.conflict")
    assert refusal(await gateway.admin.post(f"{first}:cancel")) == (409, "state.conflict")
    entries = (await gateway.get("/audit", action="build.cancel"))["entries"]
    assert [entry["outcome"] for entry in entries] == ["done", "state.conflict", "state.conflict"]


async def test_queued_build_is_cancelled_before_it_begins(tmp_path: Path) -> None:
    """A build that waits for its turn has no step that failed, and never begins."""
    project, gate, pids = project_that_waits(tmp_path)
    async with running(settings_for(tmp_path / "data", max_concurrent_builds=1)) as gateway:
        model = await gateway.model(await gateway.project(project))
        first = await gateway.build(model, "add.py:add")
        await _begun(pids)
        queued = await gateway.build(model, "add.py:add")
        assert (await gateway.post(f"{queued}:cancel"))["failure"]["step"] == ""
        gate.touch()
        await gateway.until(first, status_is("built"))
        shown = await gateway.get(queued)
        assert (shown["status"], shown["cancelled_by"]) == ("build failed", "admin")
        log = (await gateway.admin.get(f"{queued}/log")).text
        assert log.splitlines()[-1] == "The build was cancelled: user 'admin' cancelled it"


async def test_cancel_ends_a_probe(gateway: Gateway, tmp_path: Path) -> None:
    """A model that is still being imported is ended too."""
    project = copy_of("add", tmp_path)
    pid = tmp_path / "pid"
    (project / "add.py").write_text(
        f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)\n"
        "def add(args): return 1\n"
    )
    model = await gateway.model(await gateway.project(project))
    build = await gateway.build(model, "add.py:add")
    found = await until(_text_of(pid), bool)
    shown = await gateway.post(f"{build}:cancel")
    assert shown["failure"]["step"] == "PROBE"
    assert not _runs(int(found))
    assert not list((gateway.data / "builds").iterdir())


def _text_of(path: Path) -> Callable[[], Any]:
    async def read() -> str:
        return path.read_text() if path.exists() else ""

    return read


async def test_stop_of_a_model_cancels_the_builds_that_deployments_wait_for(
    gateway: Gateway, tmp_path: Path
) -> None:
    """A build that no deployment waits for continues: it would not serve anyway."""
    project, gate, pids = project_that_waits(tmp_path)
    model = await gateway.model(await gateway.project(project))
    build = await gateway.build(model, "add.py:add")
    waiting = await gateway.deploy(build)
    processes = await _begun(pids)
    other = await gateway.build(model, "add.py:add")
    await gateway.post(f"{model}:stop")
    assert (await gateway.get(waiting))["status"] == "stopped"
    shown = await gateway.get(build)
    assert (shown["status"], shown["cancelled_by"]) == ("build failed", "admin")
    assert not any(map(_runs, processes))
    gate.touch()
    await gateway.until(other, status_is("built"))


async def test_delete_of_a_running_build_cancels_what_waits_for_it(
    gateway: Gateway, tmp_path: Path
) -> None:
    """It is not in use: nothing serves it yet."""
    project, _, pids = project_that_waits(tmp_path)
    model = await gateway.model(await gateway.project(project))
    build = await gateway.build(model, "add.py:add")
    await gateway.deploy(build)
    processes = await _begun(pids)
    await gateway.delete(build)
    assert not any(map(_runs, processes))
    [ended] = (await gateway.get(f"{model}/deployments"))["model_deployments"]
    assert (ended["status"], ended["failure"]["summary"]) == ("failed", "Build 1 was cancelled")
    assert not list((gateway.data / "builds").iterdir())
    assert not list((gateway.data / "logs" / "builds").iterdir())


@pytest.mark.parametrize("pause", [0.0, 0.02, 0.3, 1.0, 1.5])
async def test_cancel_at_any_moment_ends_the_build_or_is_refused(
    gateway: Gateway, tmp_path: Path, pause: float
) -> None:
    """A cancelled build has no folder, and a build that was not cancelled is complete."""
    project = copy_of("add", tmp_path)
    model = await gateway.model(await gateway.project(project))
    build = await gateway.build(model, "add.py:add")
    await trio.sleep(pause)
    answer = await gateway.admin.post(f"{build}:cancel")
    shown: Json = await gateway.get(build)
    folders = [each.name for each in (gateway.data / "builds").glob("*")]
    if answer.status_code == 200:
        assert (shown["status"], folders) == ("build failed", [])
    else:
        assert (shown["status"], folders) == ("built", [shown["id"]])
        assert os.access(gateway.data / "builds" / shown["id"] / "sealed", os.R_OK)
