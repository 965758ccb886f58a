"""History and requests over HTTP, of a real gateway; also after a restart and `kill -9`."""

from pathlib import Path

import trio

from gateway.control.history import recorder
from tests.support.gateway import (
    PROJECTS,
    Gateway,
    in_a_process,
    running,
    settings_for,
    speaking_to,
    url_in,
)


async def served(gateway: Gateway) -> tuple[str, str]:
    """A model that serves, and its access key."""
    model = await gateway.model(await gateway.project(PROJECTS / "tracked"))
    await gateway.deployed(await gateway.built(model, "tracked.py:predict"))
    return model, await gateway.key(model)


async def test_requests_and_history(tmp_path: Path) -> None:
    """Each request is in the list and in the counts: its end, its times, and whether it was a test;
    filters and pages leave out the others. A restart keeps both."""
    data = tmp_path / "data"
    async with running(settings_for(data)) as gateway:
        model, key = await served(gateway)
        for n in range(5):
            await gateway.call(key, n)
        body = {"accessKey": key, "request": 5}
        await gateway.models.post("/model", json=body, headers={"X-Predictd-Test": "1"})
        other = await gateway.models.post("/models/other", json=body)
        assert other.status_code == 401
        bad = await gateway.models.post("/model", json=body, headers={"X-Request-Timeout": "x"})
        assert bad.status_code == 400
        found = await gateway.get(f"{model}/requests")
        assert [each["status"] for each in found["requests"]] == [200] * 6
        newest = found["requests"][0]
        assert newest["test"]
        assert (newest["build_number"], newest["deployment_number"], newest["code"]) == (1, 1, "")
        assert newest["service_ms"] > 0
        assert newest["wait_ms"] >= 0
        assert newest["replica"]
        [tested] = (await gateway.get(f"{model}/requests", test="true"))["requests"]
        assert tested == newest
        page = await gateway.get(f"{model}/requests", page_size=2)
        rest = await gateway.get(f"{model}/requests", before=page["next_before"])
        assert page["requests"] + rest["requests"] == found["requests"]
        for window in ("15m", "1h", "1d", "14d"):
            seen = await gateway.get(f"{model}/history", window=window)
            assert seen["total"]["requests"] == sum(seen["series"]["requests"]) == 6
            assert all(len(column) == len(seen["times"]) for column in columns(seen["series"]))
            assert [mark["event"] for mark in seen["marks"]] == ["deployed"]
            total = await gateway.get(f"{model}/history", window=window, only="total")
            assert total == {"window": window, "total": seen["total"]}
        assert 0 < seen["total"]["latency_p50"] <= seen["total"]["latency_p99"]
    async with running(settings_for(data)) as gateway:
        again = await gateway.get(f"{model}/requests")
        assert again["requests"] == found["requests"]
        assert (await gateway.get(f"{model}/history"))["total"]["requests"] == 6
        await gateway.delete(model)


def columns(series: dict[str, object]) -> list[list[object]]:
    found = [each for each in series.values() if isinstance(each, list)]
    failures = series["failures"]
    assert isinstance(failures, dict)
    return [*found, *failures.values()]


async def test_failures_count_by_code(tmp_path: Path) -> None:
    """A request that is refused for a model that is known counts for it, by its code."""
    async with running(settings_for(tmp_path / "data")) as gateway:
        project = await gateway.project(PROJECTS / "tracked")
        model = await gateway.model(project)
        key = await gateway.key(model)
        assert (await gateway.call(key, 1)).status_code == 503
        created = await gateway.post(f"{project}/models", {"name": "closed"})
        closed = f"{project}/models/{created['id']}"
        answer = await gateway.call(await gateway.key(closed), 1)
        assert answer.status_code == 401
        for path, code in ((model, "model.notready"), (closed, "model.unauthorized")):
            [row] = (await gateway.get(f"{path}/requests", code="failure"))["requests"]
            assert (row["code"], row["service_ms"], row["replica"]) == (code, None, "")
            assert (await gateway.get(f"{path}/history"))["total"]["failures"] == {code: 1}
        assert (await gateway.get(f"{model}/requests", status=200))["requests"] == []


async def test_requests_can_be_turned_off(tmp_path: Path) -> None:
    """With `request_log_rows=0` no request is listed; all are counted."""
    async with running(settings_for(tmp_path / "data", request_log_rows=0)) as gateway:
        model = await gateway.model(await gateway.project(PROJECTS / "tracked"))
        key = await gateway.key(model)
        await trio.sleep(1.5 * recorder.PERIOD)  # until the recorder has looked at the model
        await gateway.call(key, 1)
        assert (await gateway.get(f"{model}/requests"))["requests"] == []
        assert (await gateway.get(f"{model}/history"))["total"]["requests"] == 1


async def test_requests_of_a_model_can_be_turned_off(tmp_path: Path) -> None:
    """Of such a model no request is listed, nor those of before; all are counted."""
    async with running(settings_for(tmp_path / "data")) as gateway:
        model = await gateway.model(await gateway.project(PROJECTS / "tracked"))
        key = await gateway.key(model)
        await gateway.call(key, 1)
        assert len((await gateway.get(f"{model}/requests"))["requests"]) == 1
        changed = await gateway.admin.patch(model, json={"request_log": False})
        assert changed.json()["request_log"] is False
        await gateway.call(key, 1)
        assert (await gateway.get(f"{model}/requests"))["requests"] == []
        assert (await gateway.get(f"{model}/history"))["total"]["requests"] == 2
        await gateway.admin.patch(model, json={"request_log": True})
        await trio.sleep(1.5 * recorder.PERIOD)  # until the recorder has looked at the model
        await gateway.call(key, 1)
        assert len((await gateway.get(f"{model}/requests"))["requests"]) == 1


def test_requests_outlive_a_kill(tmp_path: Path) -> None:
    """After `kill -9` all requests but those of the last seconds are there."""
    data = tmp_path / "data"

    async def call() -> str:
        async with speaking_to(url_in(data), data) as gateway:
            model = await gateway.model(await gateway.project(PROJECTS / "tracked"))
            await gateway.call(await gateway.key(model), 1)
            await trio.sleep(3 * recorder.PERIOD)
            return model

    with in_a_process(data) as process:
        model = trio.run(call)
        process.kill()

    async def listed() -> int:
        async with running(settings_for(data)) as gateway:
            return len((await gateway.get(f"{model}/requests"))["requests"])

    assert trio.run(listed) == 1
