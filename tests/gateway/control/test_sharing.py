"""Shares between projects: one that takes all it can takes nothing from another."""

import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from builder import RepositoryAddress
from tests.gateway.control.builds.test_builds import add_that_waits
from tests.gateway.control.experiments.test_experiments import (
    ended,
    log_of,
    project_with,
    run,
    that_waits,
)
from tests.support.gateway import (
    Gateway,
    copy_of,
    ended_build,
    refusal,
    running,
    settings_for,
    status_is,
    until,
)


async def test_builds_that_sleep(tmp_path: Path) -> None:
    """While one project's builds hold all places and more of them wait, another's is made."""
    async with running(settings_for(tmp_path / "data", max_concurrent_builds=1)) as gateway:
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
    async with running(settings_for(tmp_path / "data", max_concurrent_experiments=1)) as gateway:
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
            assert (told["status"], told["waiting_for"]) == ("queued", "its turn")
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


async def user(gateway: Gateway, name: str) -> httpx.AsyncClient:
    """A client that speaks as a new user."""
    await gateway.post("/users", {"username": name, "password": "a long password"})
    key = (await gateway.post(f"/users/{name}/v2_keys", {}))["api_key"]
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=gateway.admin.base_url, headers=headers, timeout=60)


async def test_requests_that_take_long(gateway: Gateway, tmp_path: Path) -> None:
    """A user with many requests that take long waits for them; another does not. One whose client
    has gone keeps its place until it has ended."""
    greedy = await gateway.project(copy_of("add", tmp_path), "greedy")
    model = await gateway.model(greedy)
    await gateway.built(model, "add.py:add")
    store = gateway.data / "snapshots" / f"{greedy.rpartition('/')[2]}.git"
    asked = {"file_path": "add.py", "function_name": "add"}
    async with await user(gateway, "other") as other:

        async def post() -> None:
            await gateway.admin.post(f"{model}/builds", json=asked, timeout=60)

        async def builds() -> int:
            assert (await other.get("/site")).status_code == 200
            return len(os.listdir(gateway.data / "logs" / "builds"))

        with (store / "predictd.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            async with trio.open_nursery() as clients:
                for _ in range(40):
                    clients.start_soon(post)
                await until(builds, lambda found: found == 17)
                clients.cancel_scope.cancel()
            with trio.move_on_after(0.5) as waited:
                await gateway.get("/site")
            assert waited.cancelled_caught
            assert await builds() == 17
        # Those that had no place went with their clients.
        await gateway.get("/site")
        assert await builds() == 17


HEAD = '--end\r\nContent-Disposition: form-data; name="{}"; filename="f"\r\n\r\n'


async def test_uploads_that_take_long(gateway: Gateway) -> None:
    """Of one user so many uploads come in at once, each of which takes room on the disk; the others
    wait, and those of another user do not."""
    made = await gateway.post("/projects", {"name": "p", "template": "blank"})
    files = f"/projects/{made['id']}/files"
    go_on = trio.Event()

    async def slowly(name: str) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield HEAD.format(name).encode() + b"x" * 100_000
            await go_on.wait()
            yield b"\r\n--end--\r\n"

        kind = {"Content-Type": "multipart/form-data; boundary=end"}
        answer = await gateway.admin.put(files, content=body(), headers=kind, timeout=60)
        assert answer.status_code == 200, answer.text

    async def coming_in() -> int:
        found = 0
        for each in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):  # that of the listing itself
                found += "/spool/" in os.readlink(f"/proc/self/fd/{each}")
        return found

    async with await user(gateway, "other") as other, trio.open_nursery() as nursery:
        members = f"/projects/{made['id']}/collaborators"
        await gateway.admin.put(f"{members}/other", json={"permission": "contributor"})
        for number in range(6):
            nursery.start_soon(slowly, f"slow-{number}")
        await until(coming_in, lambda found: found == 4)
        assert (await other.put(files, files={"quick": b"x"})).status_code == 200
        assert await coming_in() == 4
        go_on.set()
    names = [each["path"] for each in (await gateway.get(files))["files"]]
    assert sum(name.startswith("slow-") for name in names) == 6


async def test_logs_that_are_followed(gateway: Gateway, tmp_path: Path) -> None:
    """A user who follows as many logs as one may is told so; another follows one."""
    project, gate = add_that_waits(tmp_path)
    model = await gateway.model(await gateway.project(project))
    build = await gateway.build(model, "add.py:add")
    async with await user(gateway, "other") as other, AsyncExitStack() as followers:
        members = f"/projects/{build.split('/')[2]}/collaborators"
        await gateway.admin.put(f"{members}/other", json={"permission": "viewer"})
        events = {"Accept": "text/event-stream"}
        key, limits = gateway.admin.headers, httpx.Limits(max_connections=None)
        many = await followers.enter_async_context(
            httpx.AsyncClient(base_url=gateway.admin.base_url, headers=key, limits=limits)
        )
        for _ in range(64):
            followed = await followers.enter_async_context(
                many.stream("GET", f"{build}/log", headers=events)
            )
            assert followed.status_code == 200
        one_more = await many.get(f"{build}/log", headers=events)
        assert refusal(one_more) == (503, "gateway.overloaded")
        assert (await many.get(build)).status_code == 200
        async with other.stream("GET", f"{build}/log", headers=events) as followed:
            assert followed.status_code == 200
    gate.touch()


async def test_clones_that_take_long(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one user's clones hold all places and more of them wait, another user's is made."""

    async def clone(address: RepositoryAddress, _ref: str, target: Path, **_more: object) -> None:
        if "endless" in address.url:
            await trio.sleep_forever()
        target.mkdir(parents=True)

    monkeypatch.setattr("gateway.control.projects.project_files.clone", clone)
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


async def at_once(asks: Sequence[Callable[[], Awaitable[httpx.Response]]]) -> list[httpx.Response]:
    """What all of them are answered."""
    answers: list[httpx.Response] = []

    async def keep(ask: Callable[[], Awaitable[httpx.Response]]) -> None:
        answers.append(await ask())

    async with trio.open_nursery() as nursery:
        for ask in asks:
            nursery.start_soon(keep, ask)
    return answers


async def test_a_backlog_is_bounded(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project with too many builds or experiments that have not ended is told to wait, also where
    they are asked for at once; another is not."""
    monkeypatch.setattr("gateway.control.backlog.MAX_UNFINISHED", 3)
    folder, gate = add_that_waits(tmp_path)
    (folder / "wait.py").write_text("pass")
    project = await gateway.project(folder, "greedy")
    model = await gateway.model(project)
    build = {"file_path": "add.py", "function_name": "add"}
    experiment = {"script": "wait.py"}
    for path, body in ((f"{model}/builds", build), (f"{project}/experiments", experiment)):
        answers = await at_once([partial(gateway.admin.post, path, json=body)] * 8)
        assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 5
        assert refusal(await gateway.admin.post(path, json=body)) == (429, "project.busy")
    (tmp_path / "other").mkdir()
    other = await gateway.project(copy_of("add", tmp_path / "other"), "other")
    await gateway.built(await gateway.model(other, "other"), "add.py:add")
    gate.touch()
    for each in (await gateway.get(f"{model}/builds"))["model_builds"]:
        await gateway.until(f"{model}/builds/{each['id']}", ended_build)
    await gateway.post(f"{model}/builds", build)


async def test_replicas_of_one_project(gateway: Gateway, tmp_path: Path) -> None:
    """The models of one project have so many replicas together, and another project its own. A
    deployment takes the place of the one before it."""
    await gateway.admin.patch("/site/settings", json={"project_replicas": 3})
    project = await gateway.project(copy_of("add", tmp_path), "greedy")
    first, second = await gateway.model(project, "first"), await gateway.model(project, "second")
    build = await gateway.built(first, "add.py:add")
    before = await gateway.deployed(build, replicas=2)
    more = await gateway.built(second, "add.py:add")
    refused = await gateway.admin.post(f"{more}/deployments", json={"replicas": 2})
    assert refusal(refused) == (429, "project.busy")
    assert "3 replicas; the others have 2" in refused.text
    await gateway.deployed(more, replicas=1)
    await gateway.deployed(build, replicas=1)
    await gateway.until(before, status_is("stopped"))
    await gateway.deployed(more, replicas=2)
    (tmp_path / "other").mkdir()
    other = await gateway.project(copy_of("add", tmp_path / "other"), "other")
    await gateway.deployed(await gateway.built(await gateway.model(other, "o"), "add.py:add"))
