"""/site/settings: changed while the gateway runs, and felt where they count."""

from pathlib import Path

import httpx
import trio

from gateway.settings import LoadedSettings
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


async def change(gateway: Gateway, **values: object) -> dict[str, Json]:
    answer = await gateway.admin.patch("/site/settings", json=values)
    assert answer.status_code == 200, answer.text
    return {each["name"]: each for each in answer.json()["settings"]}


async def test_site_settings_show_source_and_effect(tmp_path: Path) -> None:
    """Of each setting is told what holds, from where, and whether it can be changed now; a change
    is kept over a restart, and undone by a deletion."""
    given = LoadedSettings(
        settings_for(tmp_path / "data", build_timeout=60.0), {"build_timeout": "a.toml"}
    )
    async with running(given) as gateway:
        told = await change(gateway, model_request_timeout=7, max_request_size="2MiB")
        assert (told["model_request_timeout"]["value"], told["max_request_size"]["value"]) == (
            7,
            2 << 20,
        )
        assert told["build_timeout"]["source"] == "a.toml"
        for body, refused in (
            ({"build_timeout": 1}, (409, "setting.fixed")),
            ({"port": 1}, (409, "setting.restart")),
            ({"prot": 1}, (400, "argument.invalid")),
            ({"max_replicas": 3, "max_connections": 0}, (400, "argument.invalid")),
        ):
            assert refusal(await gateway.admin.patch("/site/settings", json=body)) == refused
        assert refusal(await gateway.admin.delete("/site/settings/prot")) == (
            404,
            "setting.notfound",
        )
    async with running(given) as gateway:
        site = (await gateway.get("/site"))["settings"]
        assert (site["model_request_timeout"], site["max_replicas"]) == (7, 9)
        await gateway.delete("/site/settings/model_request_timeout")
        assert (await gateway.get("/site"))["settings"]["model_request_timeout"] == 30


async def test_request_limits_change_at_run_time(gateway: Gateway, tmp_path: Path) -> None:
    """The bounds of model requests change at once, at both doors, also for heads seen before."""
    model = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
    await gateway.deployed(await gateway.built(model, "add.py:add"))
    key, request = await gateway.key(model), {"a": 1, "b": 2, "more": "x" * 2000}

    async def statuses() -> list[int]:
        """At the front door, and on a connection that spoke to the admin API first."""
        body = {"accessKey": key, "request": request}
        elsewhere = await gateway.admin.post(f"{gateway.url}/model", json=body)
        return [(await gateway.call(key, request)).status_code, elsewhere.status_code]

    assert await statuses() == [200, 200]
    await change(gateway, max_request_size=1000)
    assert await statuses() == [413, 413]
    await change(gateway, max_request_size="1MiB", max_inflight_bytes=1 << 20)
    assert await statuses() == [200, 200]
    await change(gateway, max_connections=1)
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as one_more:
        assert b"gateway.overloaded" in await one_more.receive_some()
    await change(gateway, max_connections=100)
    assert await statuses() == [200, 200]


async def test_pool_limits_change_at_run_time(gateway: Gateway, tmp_path: Path) -> None:
    """A model that serves follows the limits set now: time, its queue, all queues and, for replicas
    that start later, their start time."""
    model = await gateway.model(await gateway.project(copy_of("badly", tmp_path)))
    deployment = await gateway.deployed(await gateway.built(model, "badly.py:behave"))
    key = await gateway.key(model)
    sleep = {"do": "sleep", "seconds": 60}
    answers: list[tuple[int, str]] = []

    async def call() -> None:
        answers.append(refusal(await gateway.call(key, sleep)))

    for bounds in (
        {"max_queued_requests": 1},
        {"max_queued_requests": 100, "max_queued_requests_total": 1},
    ):
        await change(gateway, model_request_timeout=0.5, **bounds)
        answers.clear()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(call)
        assert sorted(answers)[:1] == [(429, "model.busy")]
        assert (504, "model.timeout") in answers
    path = f"{model}/replicas"
    await gateway.until(path, lambda told: told["replicas"][0]["status"] == "idle")
    counted = await gateway.get(path)
    assert counted["queue_full"] >= 2
    await change(gateway, model_start_timeout=0.001)
    await gateway.post(f"{deployment}:restart")
    await gateway.until(
        path, lambda told: told["replicas"][0]["last_exit"] == "it was not ready in time"
    )


async def test_recycling_limits_change_at_run_time(gateway: Gateway, tmp_path: Path) -> None:
    """Whether and when replicas that serve are replaced changes at once; new ones have the new
    limits."""
    model = await gateway.model(await gateway.project(copy_of("badly", tmp_path)))
    await gateway.deployed(await gateway.built(model, "badly.py:behave"))
    key, path = await gateway.key(model), f"{model}/replicas"

    async def replica() -> Json:
        return dict((await gateway.get(path))["replicas"][0])

    await change(gateway, restart_on_exception=False)
    assert refusal(await gateway.call(key, {"do": "raise"})) == (500, "model.error")
    assert (await replica())["restart"] == 0
    await change(gateway, recycle_after_requests=1, max_response_size=1000)
    assert (await gateway.call(key, {"do": "big", "bytes": 2000})).status_code == 200
    await until(replica, lambda now: now["recycled"] == 1 and now["status"] == "idle")
    await change(gateway, recycle_after_requests=0)
    assert (await gateway.call(key, {"do": "big", "bytes": 2000})).status_code == 500


async def test_upload_and_build_limits_change_at_run_time(gateway: Gateway, tmp_path: Path) -> None:
    """The bounds of uploads and of the time that a build takes are those set when they begin."""
    folder = copy_of("add", tmp_path)
    (folder / "cdsw-build.sh").write_text("sleep 600\n")
    project = await gateway.project(folder)
    await change(gateway, max_upload_size=1000, build_timeout=1.5)
    files = {"more.txt": b"x" * 2000}
    too_large = await gateway.admin.put(f"{project}/files", files=files)
    assert refusal(too_large) == (413, "request.toolarge")
    await gateway.delete("/site/settings/max_upload_size")
    assert (await gateway.admin.put(f"{project}/files", files=files)).status_code == 200
    build = await gateway.build(await gateway.model(project), "add.py:add")
    await gateway.until(build, status_is("timedout"))


async def test_a_smaller_bound_leaves_alone_what_there_is(gateway: Gateway, tmp_path: Path) -> None:
    """A model with more replicas than there may be from now on can be changed in what is not its
    size."""
    model = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
    policy = {"default_replication_policy": {"num_replicas": 5}}
    assert (await gateway.admin.patch(model, json=policy)).status_code == 200
    await change(gateway, max_replicas=4)
    assert (await gateway.admin.patch(model, json={"name": "other"})).status_code == 200
    assert refusal(await gateway.admin.patch(model, json=policy)) == (400, "argument.invalid")
    asked: Json = {"file_path": "add.py", "function_name": "add"}
    to_follow = {**asked, "auto_deployment_config": {"replicas": 5}}
    refused = await gateway.admin.post(f"{model}/builds", json=to_follow)
    assert refusal(refused) == (400, "argument.invalid")
    assert (await gateway.post(f"{model}/builds", asked))["build_number"] == 1


async def test_replica_limits_change_at_run_time(gateway: Gateway, tmp_path: Path) -> None:
    """A deployment is checked against the bounds set now, and sees the variables set now."""
    model = await gateway.model(await gateway.project(copy_of("greedy", tmp_path)))
    build = await gateway.built(model, "greedy.py:take")
    await change(gateway, max_replicas=1, environment={"SITE": "so"})
    many = await gateway.admin.post(f"{build}/deployments", json={"replicas": 2})
    assert refusal(many) == (400, "argument.invalid")
    await gateway.deployed(build)
    told = await gateway.call(await gateway.key(model), {"do": "variable", "name": "SITE"})
    assert told.json()["response"] == "so"
    await change(gateway, max_replicas=10)
    await gateway.until(
        await gateway.deploy(build, replicas=10), status_is("deploying", "deployed")
    )
    await change(gateway, min_free_disk=1 << 50)
    full = await gateway.admin.post(f"{build}/deployments", json={})
    assert refusal(full) == (507, "disk.full")


async def test_concurrent_builds_change_at_run_time(gateway: Gateway, tmp_path: Path) -> None:
    """How many builds run at once changes at once: more are begun; with fewer, those there are go
    on, and the next waits until there is a place."""
    project = copy_of("add", tmp_path)
    (project / "cdsw-build.sh").write_text("sleep 600\n")
    await change(gateway, max_concurrent_builds=1)
    model = await gateway.model(await gateway.project(project))
    builds = [await gateway.build(model, "add.py:add") for _ in range(3)]

    async def statuses() -> list[str]:
        return [(await gateway.get(build))["status"] for build in builds]

    await until(statuses, lambda found: found == ["building", "queued", "queued"])
    await change(gateway, max_concurrent_builds=2)
    await until(statuses, lambda found: found == ["building", "building", "queued"])
    await change(gateway, max_concurrent_builds=1)
    await gateway.delete(builds.pop(0))
    assert await statuses() == ["building", "queued"]
    await gateway.delete(builds.pop(0))
    await until(statuses, lambda found: found == ["building"])


async def test_users_may_create_is_a_setting(gateway: Gateway, tmp_path: Path) -> None:
    """If the settings say so, only site administrators create projects or models. Other users get
    the reason. Existing models continue."""
    await gateway.post("/users", {"username": "ada", "password": "a long password"})
    key = (await gateway.post("/users/ada/v2_keys", {}))["api_key"]
    ada = {"Authorization": f"Bearer {key}"}

    async def make(path: str, name: str) -> httpx.Response:
        return await gateway.admin.post(path, json={"name": name}, headers=ada)

    project = f"/projects/{(await make('/projects', 'first')).json()['id']}"
    models = f"{project}/models"
    assert (await make(models, "first")).status_code == 200
    await change(gateway, users_may_create_models=False)
    refused = await make(models, "second")
    assert refusal(refused) == (403, "auth.forbidden")
    assert "users_may_create_models" in refused.json()["message"]
    assert (await make("/projects", "second")).status_code == 200
    site = (await gateway.admin.get("/site", headers=ada)).json()
    assert (site["may_create_models"], site["may_create_projects"]) == (False, True)
    assert (await gateway.get("/site"))["may_create_models"]
    await change(gateway, users_may_create_projects=False)
    assert refusal(await make("/projects", "third")) == (403, "auth.forbidden")
    assert len((await gateway.admin.get(models, headers=ada)).json()["models"]) == 1
    await gateway.model(project, "second")
    for path in ("/site/settings", "/site/models"):
        assert refusal(await gateway.admin.get(path, headers=ada)) == (403, "auth.forbidden")
    await gateway.delete("/site/settings/users_may_create_models")
    assert (await make(models, "third")).status_code == 200
