"""Metrics over HTTP: of real models, by all their names, to whom it may be told, in all forms."""

import csv
import io
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import trio

from tests.support.folders import NewFolder
from tests.support.gateway import (
    PROJECTS,
    Gateway,
    Json,
    in_a_process,
    refusal,
    speaking_to,
    url_in,
)


class Told(NamedTuple):
    """A gateway with a model that records metrics, and one that reads them with its own key."""

    data: Path
    project: str
    model: str
    deployment: str
    key: str
    asking: str


@pytest.fixture(scope="module")
def told(new_folder: NewFolder) -> Iterator[Told]:
    data = new_folder("told") / "data"
    with in_a_process(data):
        yield trio.run(_deploy, data)


async def _deploy(data: Path) -> Told:
    async with speaking_to(url_in(data), data) as gateway:
        project = await gateway.project(PROJECTS / "tracked")
        model = await gateway.model(project, "predict")
        asking = await gateway.model(project, "ask")
        deployment = await gateway.deployed(await gateway.built(model, "tracked.py:predict"))
        await gateway.deployed(await gateway.built(asking, "tracked.py:ask"))
        keys = [await gateway.key(each) for each in (model, asking)]
        return Told(data, project, model, deployment, *keys)


@pytest.fixture
async def gateway(told: Told) -> AsyncIterator[Gateway]:
    async with speaking_to(url_in(told.data), told.data) as gateway:
        yield gateway


async def predicted(gateway: Gateway, told: Told, request: object) -> str:
    """The uuid of a prediction that was made."""
    answer = await gateway.call(told.key, request)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["response"]["uuid"])


async def names(gateway: Gateway, told: Told) -> dict[str, str]:
    """The crns of model, build and deployment."""
    deployment = await gateway.get(told.deployment)
    build = await gateway.get(told.deployment.partition("/deployments/")[0])
    model = await gateway.get(told.model)
    return {
        "model_crn": model["crn"],
        "model_build_crn": build["crn"],
        "model_deployment_crn": deployment["crn"],
    }


async def rows(gateway: Gateway, told: Told, **query: str | int) -> list[Json]:
    crn = (await gateway.get(told.deployment))["crn"]
    page = await gateway.get("/metrics", model_deployment_crn=crn, **{"page_size": 10000, **query})
    return list(page["metrics"])


async def row_of(gateway: Gateway, told: Told, uuid: str) -> Json:
    (row,) = [r for r in await rows(gateway, told) if r["predictionUuid"] == uuid]
    return row


async def asks(gateway: Gateway, told: Told, method: str, path: str, *body: object) -> Any:
    """What the model that asks is answered: status and body."""
    request = {"method": method, "path": path} | ({"body": body[0]} if body else {})
    answer = await gateway.call(told.asking, request)
    assert answer.status_code == 200, answer.text
    return answer.json()["response"]


async def test_metric_row_has_sdk_form(gateway: Gateway, told: Told) -> None:
    """An answered prediction has its row at once, as the SDK spells it, under its three names."""
    uuid = await predicted(gateway, told, {"x": [1, None, "é"]})
    row = await row_of(gateway, told, uuid)
    crns = await names(gateway, told)
    assert row == {
        "modelDeploymentCrn": crns["model_deployment_crn"],
        "modelBuildCrn": crns["model_build_crn"],
        "modelCrn": crns["model_crn"],
        "startTimeStampMs": row["startTimeStampMs"],
        "endTimeStampMs": row["endTimeStampMs"],
        "predictionUuid": uuid,
        "metrics": {"input": {"x": [1, None, "é"]}},
    }
    for name, crn in crns.items():
        assert row in (await gateway.get("/metrics", **{name: crn}, page_size=10000))["metrics"]


async def test_metrics_of_failed_prediction_are_dropped(gateway: Gateway, told: Told) -> None:
    """A prediction that raised and one whose process died have no row."""
    before = len(await rows(gateway, told))
    for request, status in (("raise", 500), ("die", 502)):
        assert (await gateway.call(told.key, request)).status_code == status
    await predicted(gateway, told, "well")
    assert len(await rows(gateway, told)) == before + 1


async def test_metrics_windows_and_pages(gateway: Gateway, told: Told) -> None:
    """A window has both its ends, and pages give each of its rows once."""
    for n in range(7):
        await predicted(gateway, told, n)
    starts = [row["startTimeStampMs"] for row in await rows(gateway, told)]
    assert starts == sorted(starts)
    begin, end = starts[-5], starts[-2]
    asked = {"start_timestamp_ms": begin, "end_timestamp_ms": end}
    window = await rows(gateway, told, **asked)
    assert [r["startTimeStampMs"] for r in window] == [s for s in starts if begin <= s <= end]
    crn = (await gateway.get(told.deployment))["crn"]
    early = await gateway.get(
        "/metrics", model_deployment_crn=crn, page_size=10000, page_token="0-0", **asked
    )
    assert early["metrics"] == window
    paged: list[Json] = []
    token = ""
    while True:
        page = await gateway.get(
            "/metrics", model_deployment_crn=crn, page_size=2, page_token=token, **asked
        )
        paged += page["metrics"]
        assert len(page["metrics"]) <= 2
        if not (token := page["next_page_token"]):
            break
    assert paged == window


async def test_delayed_metrics_merge(gateway: Gateway, told: Told) -> None:
    """Delayed metrics join the row of their prediction, null among them; the last one wins."""
    uuid = await predicted(gateway, told, 5)
    later: Json = {"truth": None, "input": 6, "deep": {"n": None}}
    body = {"prediction_uuid": uuid, "metrics": later}
    assert await gateway.post("/metrics/delayed", body) == {}
    assert (await row_of(gateway, told, uuid))["metrics"] == later


async def test_aggregate_metrics_have_window(gateway: Gateway, told: Told) -> None:
    """An aggregate is a row without a uuid, over its window; without one it is of now."""
    crn = (await gateway.get(told.deployment))["crn"]
    body = {"model_deployment_crn": crn, "metrics": {"mean": 0.25, "none": None}}
    times = {"start_timestamp_ms": 1000, "end_timestamp_ms": 2000}
    assert await gateway.post("/metrics/aggregate", body | times) == {}
    [*_, row] = await rows(gateway, told, end_timestamp_ms=1000)
    assert (row["predictionUuid"], row["endTimeStampMs"]) == ("", 2000)
    assert row["metrics"] == body["metrics"]
    uuid = await predicted(gateway, told, 1)
    await gateway.post("/metrics/aggregate", body)
    start = (await row_of(gateway, told, uuid))["startTimeStampMs"]
    later = await rows(gateway, told, start_timestamp_ms=start)
    assert [
        r["endTimeStampMs"] - r["startTimeStampMs"] for r in later if not r["predictionUuid"]
    ] == [0]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, (400, "argument.invalid")),
        ({"model_crn": "a", "model_build_crn": "b"}, (400, "argument.invalid")),
        ({"model_crn": "crn:of:another"}, (404, "model.notfound")),
        ({"model_build_crn": "x"}, (404, "build.notfound")),
        ({"model_deployment_crn": "x"}, (404, "deployment.notfound")),
        ({"start_timestamp_ms": "yesterday"}, (400, "argument.invalid")),
        ({"end_timestamp_ms": "99999999999999999"}, (400, "argument.invalid")),
        ({"page_size": "0"}, (400, "argument.invalid")),
        ({"page_token": "1"}, (400, "argument.invalid")),
        ({"format": "xls"}, (400, "argument.invalid")),
    ],
)
async def test_metrics_query_invalid_is_refused(
    gateway: Gateway, told: Told, query: dict[str, str], expected: tuple[int, str]
) -> None:
    """What makes no sense is refused, by name."""
    sensible = query.keys() & {"start_timestamp_ms", "end_timestamp_ms", "page_size", "page_token"}
    if sensible or "format" in query:
        query = query | {"model_crn": (await gateway.get(told.model))["crn"]}
    path = "/metrics/export" if "format" in query else "/metrics"
    assert refusal(await gateway.admin.get(path, params=query)) == expected


async def test_unknown_crn_is_404(gateway: Gateway, told: Told) -> None:
    """A name without an id behind its slash is nothing's: not of all whose build is gone."""
    unknown = (await gateway.get(told.model))["crn"].rpartition("/")[0] + "/"
    for name in ("model_crn", "model_build_crn", "model_deployment_crn"):
        assert (await gateway.admin.get("/metrics", params={name: unknown})).status_code == 404


async def test_metrics_invalid_are_refused(gateway: Gateway, told: Told) -> None:
    """Nothing is found out about a prediction that is not there, and no time runs backwards."""
    for uuid in ("x", "00000000-0000-4000-8000-000000000000"):
        unknown: Json = {"prediction_uuid": uuid, "metrics": {}}
        answer = await gateway.admin.post("/metrics/delayed", json=unknown)
        assert refusal(answer) == (404, "prediction.notfound")
    crn = (await gateway.get(told.deployment))["crn"]
    body: Json = {"model_deployment_crn": crn, "metrics": {}, "start_timestamp_ms": 2}
    answer = await gateway.admin.post("/metrics/aggregate", json=body | {"end_timestamp_ms": 1})
    assert refusal(answer) == (400, "argument.invalid")
    answer = await gateway.admin.post("/metrics/aggregate", json={**body, "metrics": [1]})
    assert refusal(answer) == (400, "argument.invalid")


async def test_metric_row_is_bounded(gateway: Gateway, told: Told) -> None:
    """What would make a row too large is refused, and leaves it as it was."""
    uuid = await predicted(gateway, told, 1)
    for number in range(5):
        later: Json = {"prediction_uuid": uuid, "metrics": {str(number): "x" * 60_000}}
        assert (await gateway.admin.post("/metrics/delayed", json=later)).status_code == 200
    before = await row_of(gateway, told, uuid)
    more: Json = {"prediction_uuid": uuid, "metrics": {"more": "x" * 60_000}}
    answer = await gateway.admin.post("/metrics/delayed", json=more)
    assert refusal(answer) == (400, "argument.invalid")
    assert await row_of(gateway, told, uuid) == before
    small: Json = {"prediction_uuid": uuid, "metrics": {"0": None, "1": None}}
    assert await gateway.post("/metrics/delayed", small) == {}


async def test_metrics_follow_permissions(gateway: Gateway, told: Told) -> None:
    """A user who may not view the project learns nothing; a viewer reads metrics but adds none, and
    so does every user if the project is public."""
    uuid = await predicted(gateway, told, 1)
    crn = (await gateway.get(told.deployment))["crn"]
    await gateway.post("/users", {"username": "eve", "password": "correct horse"})
    key = (await gateway.post("/users/eve/v2_keys"))["api_key"]
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=f"{gateway.url}/api/v2", headers=headers) as eve:

        async def answers() -> list[tuple[int, str]]:
            window = {"model_deployment_crn": crn}
            asked = [
                await eve.get("/metrics", params=window),
                await eve.get("/metrics/export", params=window),
                await eve.post("/metrics/delayed", json={"prediction_uuid": uuid, "metrics": {}}),
                await eve.post("/metrics/aggregate", json={**window, "metrics": {}}),
            ]
            return [(200, "") if a.status_code == 200 else refusal(a) for a in asked]

        unseen = (404, "deployment.notfound")
        assert await answers() == [unseen, unseen, (404, "prediction.notfound"), unseen]
        refused = (403, "auth.forbidden")
        await gateway.admin.patch(told.project, json={"visibility": "public"})
        assert await answers() == [(200, ""), (200, ""), refused, refused]
        await gateway.admin.patch(told.project, json={"visibility": "private"})
        role = f"{told.project}/collaborators/eve"
        assert (await gateway.admin.put(role, json={"permission": "viewer"})).status_code == 200
        assert await answers() == [(200, ""), (200, ""), refused, refused]
        assert (await gateway.admin.put(role, json={"permission": "operator"})).status_code == 200
        assert await answers() == [(200, "")] * 4
    await gateway.delete("/users/eve")


async def test_sdk_reads_and_adds_metrics(gateway: Gateway, told: Told) -> None:
    """A model does all of it by the functions of the SDK, with nothing but its environment."""
    uuid = await predicted(gateway, told, 1)
    crn = (await gateway.get(told.deployment))["crn"]
    model = await gateway.model(told.project, "sdk")
    await gateway.deployed(await gateway.built(model, "tracked.py:sdk"))
    asked = {"crn": crn, "uuid": uuid, "truth": 7}
    found = (await gateway.call(await gateway.key(model), asked)).json()["response"]
    assert found == await rows(gateway, told)
    assert (await row_of(gateway, told, uuid))["metrics"] == {"input": 1, "truth": 7}
    assert next(r for r in found if not r["predictionUuid"])["startTimeStampMs"] == 1
    await gateway.delete(model)


async def test_workload_key_reads_and_adds_metrics(gateway: Gateway, told: Told) -> None:
    """By its own key a model reads and tells metrics of its project, and calls its models."""
    uuid = await predicted(gateway, told, 1)
    crn = (await gateway.get(told.deployment))["crn"]
    status, page = await asks(gateway, told, "GET", f"/api/v2/metrics?model_deployment_crn={crn}")
    assert (status, uuid in json.dumps(page)) == (200, True)
    delayed = {"prediction_uuid": uuid, "metrics": {"truth": 1}}
    for _ in range(3):
        assert await asks(gateway, told, "POST", "/api/v2/metrics/delayed", delayed) == [200, {}]
    project = told.project.rpartition("/")[2]
    (entry,) = [
        each
        for each in (await gateway.get("/audit", action="metrics.delay", page_size=1000))["entries"]
        if each["detail"] == f"by workload key; project {project}"
    ]
    assert (entry["who"], entry["action"], entry["outcome"]) == ("admin", "metrics.delay", "done")
    status, _ = await asks(gateway, told, "GET", f"/api/v2{told.project}")
    assert status == 200
    await gateway.admin.patch(told.model, json={"auth_enabled": True})
    try:
        body = {"accessKey": told.key, "request": 1}
        status, answer = await asks(gateway, told, "POST", "/model", body)
        assert (status, answer["success"]) == (200, True)
    finally:
        await gateway.admin.patch(told.model, json={"auth_enabled": False})


async def test_workload_key_is_bound_to_its_project(
    gateway: Gateway, told: Told, tmp_path: Path
) -> None:
    """Its key opens nothing of other projects, though its user could, and nothing of that user."""
    (tmp_path / "model.py").write_text("def f(x):\n    return x\n")
    other = await gateway.project(tmp_path, "other")
    stranger = await gateway.model(other, "stranger")
    crn = (await gateway.get(stranger))["crn"]
    for method, path, expected in (
        ("GET", f"/api/v2{other}", 404),
        ("GET", f"/api/v2/metrics?model_crn={crn}", 404),
        ("POST", "/api/v2/site/links", 403),
        ("POST", "/api/v2/users/admin/v2_keys", 403),
        ("GET", "/api/v2/backup", 403),
        ("DELETE", f"/api/v2{told.project}", 403),
        ("POST", f"/api/v2{told.model}/builds", 403),
    ):
        body: list[Json] = [{}] if method == "POST" else []
        status, _ = await asks(gateway, told, method, path, *body)
        assert (method, path, status) == (method, path, expected)
    status, listed = await asks(gateway, told, "GET", "/api/v2/models?page_size=1000")
    assert status == 200
    assert {each["project"]["id"] for each in listed["models"]} == {told.project.split("/")[-1]}
    await gateway.admin.patch(stranger, json={"auth_enabled": True})
    key = await gateway.key(stranger)
    status, answer = await asks(gateway, told, "POST", "/model", {"accessKey": key, "request": 1})
    assert (status, answer["error"]["code"]) == (403, "model.forbidden")
    await gateway.delete(other)


async def test_a_workload_key_ends(gateway: Gateway, told: Told) -> None:
    """With the deployment ends its key."""
    model = await gateway.model(told.project, "key")
    deployment = await gateway.deployed(await gateway.built(model, "tracked.py:key"))
    key = (await gateway.call(await gateway.key(model), None)).json()["response"]
    headers = {"Authorization": f"Bearer {key}"}
    url = f"{gateway.url}/api/v2{told.project}"
    assert (await gateway.models.get(url, headers=headers)).status_code == 200
    await gateway.post(f"{deployment}:stop")
    await gateway.until(deployment, lambda d: d["status"] == "stopped")
    assert (await gateway.models.get(url, headers=headers)).status_code == 401
    await gateway.delete(model)


async def exported(gateway: Gateway, told: Told, kind: str) -> httpx.Response:
    crn = (await gateway.get(told.model))["crn"]
    answer = await gateway.admin.get("/metrics/export", params={"model_crn": crn, "format": kind})
    assert answer.status_code == 200, answer.text
    return answer


async def test_metrics_export_json_lines(gateway: Gateway, told: Told) -> None:
    """As JSON Lines it is the rows, one in each line."""
    await predicted(gateway, told, "x")
    lines = (await exported(gateway, told, "jsonl")).text.splitlines()
    assert [json.loads(line) for line in lines] == await rows(gateway, told)


async def test_metrics_export_csv(gateway: Gateway, told: Told) -> None:
    """As CSV each key is a column; what has no form in a cell is JSON."""
    uuid = await predicted(gateway, told, {"a": 'quo"te\n'})
    await gateway.post(
        "/metrics/delayed",
        {"prediction_uuid": uuid, "metrics": {"good": True, "p": 0.5, "text": "a,b\nc"}},
    )
    text = (await exported(gateway, told, "csv")).text
    (row,) = [r for r in csv.DictReader(io.StringIO(text)) if r["predictionUuid"] == uuid]
    kept = await row_of(gateway, told, uuid)
    assert row["startTimeStampMs"] == str(kept["startTimeStampMs"])
    assert json.loads(row["metrics.input"]) == {"a": 'quo"te\n'}
    assert [row[f"metrics.{name}"] for name in ("good", "p", "text")] == ["true", "0.5", "a,b\nc"]


async def test_metrics_export_parquet(gateway: Gateway, told: Told) -> None:
    """As Parquet columns have types; without pyarrow there is a plain word about it."""
    uuid = await predicted(gateway, told, 3)
    crn = (await gateway.get(told.model))["crn"]
    query = {"model_crn": crn, "format": "parquet"}
    answer = await gateway.admin.get("/metrics/export", params=query)
    try:
        from pyarrow import parquet
    except ImportError:
        assert refusal(answer) == (400, "feature.unsupported")
        assert "predictd[parquet]" in answer.json()["details"][0]["advice"]
        return
    assert answer.status_code == 200, answer.text
    table = parquet.read_table(io.BytesIO(answer.content)).to_pylist()
    (row,) = [r for r in table if r["predictionUuid"] == uuid]
    kept = await row_of(gateway, told, uuid)
    assert row["startTimeStampMs"] == kept["startTimeStampMs"]
    assert json.loads(str(row["metrics.input"])) == 3
    assert len(table) == len(await rows(gateway, told))


async def test_deleted_model_has_no_metrics(gateway: Gateway, told: Told) -> None:
    """With its model a prediction is deleted for every user, at once."""
    model = await gateway.model(told.project, "short")
    await gateway.deployed(await gateway.built(model, "tracked.py:predict"))
    answer = await gateway.call(await gateway.key(model), 1)
    uuid, crn = answer.json()["response"]["uuid"], (await gateway.get(model))["crn"]
    assert len((await gateway.get("/metrics", model_crn=crn))["metrics"]) == 1
    await gateway.delete(model)
    gone = await gateway.admin.get("/metrics", params={"model_crn": crn})
    assert refusal(gone) == (404, "model.notfound")
    body: Json = {"prediction_uuid": uuid, "metrics": {}}
    later = await gateway.admin.post("/metrics/delayed", json=body)
    assert refusal(later) == (404, "prediction.notfound")


async def test_site_shows_metrics_state(gateway: Gateway, told: Told) -> None:
    """How much is kept, waits and was dropped is told, for the site and for each model."""
    await predicted(gateway, told, 1)
    await rows(gateway, told)  # by then it is written
    site = (await gateway.get("/site"))["metrics"]
    assert site["rows"] >= 1
    assert site["bytes"] > 100 * site["rows"]
    assert (site["waiting"], site["dropped"], site["refused"]) == (0, 0, 0)
    assert (await gateway.get(f"{told.model}/replicas"))["metrics_dropped"] == 0


async def test_version_changes_with_the_records(gateway: Gateway, told: Told) -> None:
    """The version of the latest records is that of all: it stays while none changes, and changes
    with each that is added or completed."""
    crn = (await gateway.get(told.deployment))["crn"]

    async def version() -> str:
        found = await gateway.get("/metrics/latest", model_deployment_crn=crn, page_size=1)
        return str(found["version"])

    uuid = await predicted(gateway, told, 5)
    versions = [await version()]
    assert await version() == versions[0]
    for value in (1, 2):
        body = {"prediction_uuid": uuid, "metrics": {"truth": value}}
        await gateway.post("/metrics/delayed", body)
        versions.append(await version())
    await gateway.post("/metrics/aggregate", {"model_deployment_crn": crn, "metrics": {"mean": 1}})
    versions.append(await version())
    await predicted(gateway, told, 6)
    versions.append(await version())
    assert len(set(versions)) == len(versions)
