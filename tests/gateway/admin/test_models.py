"""/models, builds, deployments, lists and the site: the outer spelling and what is refused."""

import json
import os
import signal
from pathlib import Path

import pytest
import trio

from tests.gateway.conftest import Samples
from tests.support.gateway import Gateway, copy_of, refusal, running, settings_for, until

FILE = {"file_path": "add.py", "function_name": "add"}


@pytest.fixture
async def project(shared: Gateway, tmp_path: Path) -> str:
    name = str(tmp_path).replace("/", "-")
    return await shared.project(copy_of("add", tmp_path), name)


async def test_new_model_json(shared: Gateway, project: str) -> None:
    """A new model has CDSW's fields, an access key of its own, and nothing deployed."""
    made = await shared.post(f"{project}/models", {"name": "m"})
    assert made["access_key"].startswith("m")
    assert len(made["access_key"]) == 32
    assert made["access_key"].isalnum()
    assert made["crn"].endswith(made["id"])
    assert (made["status"], made["auth_enabled"], made["deletion_status"]) == ("", True, "")
    assert made["url"] == f"{shared.url}/model"
    assert refusal(await shared.admin.post(f"{project}/models", json={"name": "m"})) == (
        409,
        "name.taken",
    )


@pytest.mark.parametrize("asked", [{"auth_enabled": False}, {"disable_authentication": True}])
async def test_model_authentication_can_be_off(
    shared: Gateway, project: str, asked: dict[str, bool]
) -> None:
    """A model can be open to all callers with its access key, from the start or later, and back."""
    model = await shared.post(f"{project}/models", {"name": "m", **asked})
    assert model["auth_enabled"] is False
    for enabled in (True, False):
        answer = await shared.admin.patch(
            f"{project}/models/{model['id']}", json={"auth_enabled": enabled}
        )
        assert answer.json()["auth_enabled"] is enabled
        called = refusal(await shared.call(model["access_key"], 1))
        assert called == ((401, "model.unauthorized") if enabled else (503, "model.notready"))


async def test_two_access_keys_at_once(shared: Gateway, project: str) -> None:
    """Who regenerates a key at the same time gets another one, and only the last is good."""
    model = await shared.post(f"{project}/models", {"name": "m", "disable_authentication": True})
    path, keys = f"{project}/models/{model['id']}", list[str]()

    async def regenerate() -> None:
        keys.append((await shared.post(f"{path}:regenerate_key"))["access_key"])

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(regenerate)
    assert len({model["access_key"], *keys}) == 6
    good = [key for key in keys if refusal(await shared.call(key, 1)) == (503, "model.notready")]
    assert good == [await shared.key(path)]


async def test_access_key_regenerated_replaces_old(shared: Gateway, project: str) -> None:
    """A regenerated access key is a new one, and the old one stops working."""
    model = await shared.post(f"{project}/models", {"name": "m", "disable_authentication": True})
    path = f"{project}/models/{model['id']}"
    changed = await shared.post(f"{path}:regenerate_key")
    assert changed["access_key"] != model["access_key"]
    assert refusal(await shared.call(model["access_key"], 1)) == (401, "model.accesskey")
    assert refusal(await shared.call(changed["access_key"], 1)) == (503, "model.notready")
    answer = await shared.admin.post(f"{path}:explode", json={})
    assert refusal(answer) == (405, "route.method")


@pytest.mark.parametrize(
    ("config", "refused"),
    [
        ({**FILE, "kernel": "cobol"}, (400, "kernel.unknown")),
        ({**FILE, "file_path": "../add.py"}, (400, "path.refused")),
        ({**FILE, "file_path": "/etc/passwd"}, (400, "path.refused")),
        ({**FILE, "file_path": ""}, (400, "argument.invalid")),
        ({**FILE, "function_name": "a b"}, (400, "argument.invalid")),
        ({**FILE, "model_root_dir": ".."}, (400, "path.refused")),
        ({**FILE, "build_script_path": "/bin/sh"}, (400, "path.refused")),
        ({**FILE, "auto_deployment_config": {"replicas": 0}}, (400, "argument.invalid")),
        ({**FILE, "auto_deployment_config": {"replicas": 10}}, (400, "argument.invalid")),
        ({**FILE, "auto_deployment_config": {"cpu": 0}}, (400, "argument.invalid")),
        ({**FILE, "auto_deployment_config": {"memory": -1}}, (400, "argument.invalid")),
        ({**FILE, "auto_deployment_config": {"nvidia_gpus": -1}}, (400, "argument.invalid")),
        ({**FILE, "auto_deployment_config": {"nvidia_gpus": 99}}, (400, "resources.exceeded")),
        (
            {**FILE, "auto_deployment_config": {"environment": {"a b": ""}}},
            (400, "argument.invalid"),
        ),
    ],
    ids=str,
)
async def test_build_or_deployment_invalid_is_refused(
    shared: Gateway, project: str, config: dict[str, object], refused: tuple[int, str]
) -> None:
    """What cannot be is refused at once, alone or with its model, and leaves nothing behind."""
    asked = {"name": "m", "auto_build_model": True, "auto_build_config": config}
    assert refusal(await shared.admin.post(f"{project}/models", json=asked)) == refused
    assert (await shared.get(f"{project}/models"))["models"] == []
    model = await shared.model(project)
    assert refusal(await shared.admin.post(f"{model}/builds", json=config)) == refused
    assert (await shared.get(f"{model}/builds"))["model_builds"] == []


async def test_a_model_with_its_build_and_deployment(shared: Gateway, project: str) -> None:
    """One request makes, builds and deploys; kernels are named in any spelling."""
    config = {**FILE, "kernel": " PYTHON3 ", "auto_deploy_model": True, "example": {"a": 1, "b": 2}}
    asked = {"name": "m", "auto_build_model": True, "auto_build_config": config}
    made = await shared.post(f"{project}/models", asked)
    model = f"{project}/models/{made['id']}"
    assert made["model_build"]["build_number"] == 1
    assert made["model_deployment"]["build_id"] == made["model_build"]["id"]
    now = await shared.until(model, lambda m: m["status"] in ("deployed", "failed"))
    assert now["status"] == "deployed"
    assert (now["current_build_number"], now["replicas_ready"]) == (1, 1)
    assert now["example"] == {"a": 1, "b": 2}
    (build,) = (await shared.get(f"{model}/builds"))["model_builds"]
    assert build["runtime_identifier"].startswith("python3.")
    assert build["status"] == "built"
    (deployment,) = (await shared.get(f"{model}/deployments"))["model_deployments"]
    assert (deployment["cpu"], deployment["memory"], deployment["replicas"]) == (1.0, 2.0, 1)
    assert deployment["environment"] == "{}"
    assert await shared.delete(model) == {}


async def test_model_of_other_project_is_404(
    shared: Gateway, project: str, samples: Samples
) -> None:
    """An id is only found below what it belongs to."""
    models = (await shared.get("/models", page_size=100))["models"]
    (other,) = [m for m in models if m["access_key"] == samples.add]
    theirs = f"/projects/{other['project']['id']}/models/{other['id']}"
    (build,) = (await shared.get(f"{theirs}/builds"))["model_builds"]
    mine = await shared.model(project)
    assert refusal(await shared.admin.delete(f"{project}/models/{other['id']}")) == (
        404,
        "model.notfound",
    )
    assert refusal(await shared.admin.get(f"{mine}/builds/{build['id']}")) == (
        404,
        "build.notfound",
    )
    deployments = f"{theirs}/builds/{build['id']}/deployments"
    assert refusal(await shared.admin.get(f"{deployments}/x")) == (404, "deployment.notfound")
    assert refusal(await shared.admin.post(f"{deployments}/x:explode")) == (405, "route.method")


async def test_replicas_and_logs(shared: Gateway, samples: Samples) -> None:
    """Replicas tell their process and counters; their logs are told as lines."""
    models = (await shared.get("/models", page_size=100))["models"]
    (badly,) = [m for m in models if m["access_key"] == samples.badly]
    model = f"/projects/{badly['project']['id']}/models/{badly['id']}"
    await shared.call(samples.badly, {"do": "stdout", "text": "printed words\n"})
    (replica,) = (await shared.get(f"{model}/replicas"))["replicas"]
    assert replica["pid"] > 0
    assert replica["rss_bytes"] > 1_000_000
    assert replica["received"] >= replica["success"] >= 1
    text = (await shared.admin.get(f"{model}/logs", params={"tail": 1000})).text
    assert " stdout printed words\n" in text
    assert " Model ready" in text
    assert (await shared.admin.get(f"{model}/logs", params={"tail": 0})).text == ""
    for tail in ("-1", "x", "٣", "9" * 5000):
        answer = await shared.admin.get(f"{model}/logs", params={"tail": tail})
        assert refusal(answer) == (400, "argument.invalid")


@pytest.mark.parametrize("server", ["the reactor's", "Hypercorn"])
@pytest.mark.parametrize(
    ("request_", "first", "last"),
    [
        ({"do": "raise", "text": "no luck"}, "failed, ", "ValueError: no luck"),
        ({"do": "os_exit"}, "ended the replica", "exited with status 4"),
    ],
    ids=["raise", "os_exit"],
)
async def test_request_id_of_an_error_leads_to_its_lines(
    shared: Gateway, samples: Samples, request_: object, first: str, last: str, server: str
) -> None:
    """`logs?request=` has the lines of a failed request and no others, as text or an object each,
    whichever server has answered."""
    models = (await shared.get("/models", page_size=100))["models"]
    (badly,) = [m for m in models if m["access_key"] == samples.badly]
    logs = f"/projects/{badly['project']['id']}/models/{badly['id']}/logs"
    if server == "Hypercorn":
        await shared.models.get("/livez")  # its connection is Hypercorn's from now on
    response = await shared.call(samples.badly, request_)
    number = response.json()["request_id"]
    assert number == response.headers["x-request-id"]

    async def found() -> list[dict[str, str]]:
        headers = {"Accept": "application/x-ndjson"}
        answer = await shared.admin.get(logs, params={"request": number}, headers=headers)
        return [json.loads(line) for line in answer.text.splitlines()]

    lines = await until(found, bool)
    assert {each["request_id"] for each in lines} == {number}
    assert {each["stream"] for each in lines} == {"stderr"}
    assert f"request {number} {first}" in lines[0]["text"]
    assert last in lines[-1]["text"]
    text = (await shared.admin.get(logs, params={"request": number})).text
    assert len(text.splitlines()) == len(lines)
    answer = await shared.admin.get(logs, params={"since": lines[-1]["at"], "tail": 1000})
    assert last in answer.text


async def test_requests_without_an_answer_are_counted_by_reason(
    shared: Gateway, samples: Samples
) -> None:
    """Beside the replicas one sees what waits, and why requests got no answer: of a model that is
    not deployed the same, with nothing in it."""
    models = (await shared.get("/models", page_size=100))["models"]
    (badly,) = [m for m in models if m["access_key"] == samples.badly]
    (idle,) = [m for m in models if m["access_key"] == samples.idle]
    path = f"/projects/{badly['project']['id']}/models/{badly['id']}/replicas"
    before = await shared.get(path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shared.call, samples.badly, {"do": "hang"})
        busy = await shared.until(path, lambda now: now["replicas"][0]["status"] == "busy")
        hasty = {"accessKey": samples.badly, "request": {"do": "echo"}}
        answer = await shared.models.post("/model", json=hasty, headers={"X-Request-Timeout": "0"})
        assert refusal(answer) == (429, "model.busy")
        after = await shared.get(path)
        os.kill(busy["replicas"][0]["pid"], signal.SIGKILL)
    reasons = ("queue_full", "waited_too_long", "not_ready", "abandoned", "timed_out")
    grown = {reason: after[reason] - before[reason] for reason in reasons}
    assert grown == {**dict.fromkeys(reasons, 0), "waited_too_long": 1}
    assert after["busy"] == before["busy"] + 1
    assert after["waiting"] == 0
    nothing = await shared.get(f"/projects/{idle['project']['id']}/models/{idle['id']}/replicas")
    assert {k: type(v) for k, v in nothing.items()} == {k: type(v) for k, v in after.items()}
    assert not any(nothing.values())


async def test_list_pages_filter_and_sort(gateway: Gateway) -> None:
    """Lists ascend by creation, ten at a time; the token leads on until there is no more."""
    names = [f"p{n}" for n in range(12)]
    for name in names:
        await gateway.post("/projects", {"name": name, "description": name[::-1]})

    async def listed(**query: str | int) -> list[str]:
        return [p["name"] for p in (await gateway.get("/projects", **query))["projects"]]

    first = await gateway.get("/projects")
    assert [p["name"] for p in first["projects"]] == names[:10]
    assert await listed(page_token=first["next_page_token"]) == names[10:]
    assert (await gateway.get("/projects", page_size=12))["next_page_token"] == ""
    assert await listed(page_token=999) == []
    assert await listed(sort="-number", page_size=2) == ["p11", "p10"]
    assert await listed(sort="+number", page_size=3) == names[:3]
    assert await listed(search_filter=json.dumps({"name": "P11"})) == ["p11"]
    assert await listed(search_filter=json.dumps({"number": 2})) == ["p1"]
    assert await listed(search_filter=json.dumps({"creator.username": "admin"}), page_size=1) == [
        "p0"
    ]
    assert await listed(search_filter=json.dumps({"nothing": "x"})) == []
    for query in (
        {"page_size": 0},
        {"page_size": "x"},
        {"page_size": "9" * 5000},
        {"page_token": "-1"},
        {"sort": "nothing"},
        {"search_filter": "{"},
        {"search_filter": "[]"},
        {"search_filter": "[" * 3000},
    ):
        answer = await gateway.admin.get("/projects", params=query)
        assert refusal(answer) == (400, "argument.invalid"), query


async def test_runtimes_and_site(shared: Gateway) -> None:
    """The interpreters there are, one of them the default; the site tells its settings and no
    secret."""
    runtimes = (await shared.get("/runtimes", page_size=100))["runtimes"]
    assert [r["default"] for r in runtimes].count(True) == 1
    assert all(r["kernel"].startswith(("Python 3.", "R ")) for r in runtimes)
    answer = await shared.admin.get("/site")
    assert answer.json()["settings"]["model_request_timeout"] == 30.0
    assert (shared.data / "admin.key").read_text().strip() not in answer.text


async def test_site_hides_values_of_variables(tmp_path: Path) -> None:
    """Of the site's variables only the names are told."""
    settings = settings_for(tmp_path / "data", environment={"PIP_INDEX_URL": "https://user:word@x"})
    async with running(settings) as gateway:
        answer = await gateway.admin.get("/site")
        assert answer.json()["settings"]["environment"] == ["PIP_INDEX_URL"]
        assert "word" not in answer.text


async def test_model_defaults_change(gateway: Gateway, tmp_path: Path) -> None:
    """What deployments get by default is the model's, and can be changed within bounds."""
    model = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
    wished = {
        "default_resources": {"cpu_millicores": 500},
        "default_replication_policy": {"num_replicas": 3},
    }
    changed = (await gateway.admin.patch(model, json=wished)).json()
    assert changed["default_resources"]["cpu_millicores"] == 500
    assert changed["default_replication_policy"]["num_replicas"] == 3
    too_many = {"default_replication_policy": {"num_replicas": 10}}
    assert refusal(await gateway.admin.patch(model, json=too_many)) == (400, "argument.invalid")


async def test_body_is_read_as_proto_json(gateway: Gateway, tmp_path: Path) -> None:
    """null is the default and a number may be text, as clients made from protobuf send them."""
    model = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
    build = await gateway.built(model, "add.py:add", kernel=None, example=None, comment=None)
    deployment = await gateway.deploy(build, replicas="2", cpu=None, environment=None)
    assert (await gateway.get(deployment))["replicas"] == 2


async def test_runtime_identifier_selects_kernel(gateway: Gateway, tmp_path: Path) -> None:
    """Clients send both; the runtime is the exact one."""
    model = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
    asked = {"file_path": "add.py", "function_name": "add", "kernel": "python3"}
    answer = await gateway.admin.post(
        f"{model}/builds", json={**asked, "runtime_identifier": "python2.7"}
    )
    assert refusal(answer) == (400, "kernel.unknown")
