"""One row for each answer, also after a kill; and what is deleted in time."""

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio

import store
from gateway.control.metrics import metrics, metrics_writer
from store import StoreFailed, open_database
from store.sqlite import connections
from tests.support.gateway import PROJECTS, Gateway, running, settings_for, until

MIB = 1 << 20


async def tracked(gateway: Gateway, **more: object) -> tuple[str, str]:
    """A model that tracks metrics, and its access key."""
    model = await gateway.model(await gateway.project(PROJECTS / "tracked"))
    await gateway.deployed(await gateway.built(model, "tracked.py:predict"), **more)
    return model, await gateway.key(model)


def kill_a_replica(gateway: Gateway) -> None:
    for child in psutil.Process().children(recursive=True):
        try:
            if "start.py" in " ".join(child.cmdline()):
                os.kill(child.pid, signal.SIGKILL)
                return
        except (psutil.Error, ProcessLookupError):
            continue


async def rows_in(data: Path) -> list[str]:
    """The uuids of all rows that a gateway left behind."""
    async with open_database(data / "predictd.db") as database:
        ((model,),) = [await database.read(store.models.list_all)]
        sources = await database.read(store.metrics.series_of, "model", model.id)
        numbers = [source.number for source in sources]
        found = await database.read(
            store.metrics.window, numbers, start_ms=0, end_ms=2**53, most=100_000
        )
    return [row.uuid for row in found]


async def test_rows_and_answers_are_equal(tmp_path: Path) -> None:
    """Replicas are killed in mid-request, and the gateway stops right after the last answer: each
    answer has its row, and no row is without one."""
    answered: list[str] = []
    data = tmp_path / "data"
    async with running(settings_for(data)) as gateway:
        _, key = await tracked(gateway, replicas=2)

        async def keep_calling() -> None:
            for n in range(100):
                answer = await gateway.call(key, n)
                if answer.status_code == 200:
                    answered.append(answer.json()["response"]["uuid"])
                else:
                    assert answer.status_code in (502, 503), answer.text

        async with trio.open_nursery() as callers:
            for _ in range(4):
                callers.start_soon(keep_calling)
            for n in (50, 150, 250):
                while len(answered) < n:  # noqa: ASYNC110 - answers are no event
                    await trio.sleep(0.001)
                kill_a_replica(gateway)
    assert len(answered) > 250
    assert sorted(await rows_in(data)) == sorted(answered)


async def test_predictions_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While metrics cannot be written predictions are answered; afterwards nothing is missing."""
    monkeypatch.setattr(metrics_writer, "_RETRY", 0.05)
    write = store.metrics.append
    refuses = True

    async def refusing(*args: Any, **named: Any) -> int | None:
        if refuses:
            raise StoreFailed("the disk fails")
        return await write(*args, **named)

    monkeypatch.setattr(store.metrics, "append", refusing)
    async with running(settings_for(tmp_path / "data")) as gateway:
        model, key = await tracked(gateway)
        for n in range(5):
            assert (await gateway.call(key, n)).status_code == 200
        assert (await gateway.get("/site"))["metrics"]["waiting"] == 5
        refuses = False
        crn = (await gateway.get(model))["crn"]
        found = await until(
            lambda: gateway.get("/metrics", model_crn=crn), lambda page: len(page["metrics"]) == 5
        )
        assert [row["metrics"]["input"] for row in found["metrics"]] == [0, 1, 2, 3, 4]


async def test_what_is_too_much_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept never takes more than the limit, aggregates and delayed metrics among it: the
    oldest go for the new ones. A limit that was lowered holds after the next start, and the disk
    has its room again."""
    monkeypatch.setattr(metrics, "_PERIOD", 0.05)
    monkeypatch.setattr(connections, "SPARE_PAGES", 16)
    data = tmp_path / "data"
    async with running(settings_for(data, metrics_max_size=3 * MIB)) as gateway:
        _, key = await tracked(gateway)

        async def taken() -> int:
            return int((await gateway.get("/site"))["metrics"]["bytes"])

        for n in range(40):
            answer = await gateway.call(key, f"{n} {'x' * 100_000}")
            assert answer.status_code == 200
            assert await taken() <= 3 * MIB
        prediction = answer.json()["response"]
        crn = prediction["model_deployment_crn"]
        for n in range(20):
            more = {"prediction_uuid": prediction["uuid"], "metrics": {f"{n}": "y" * 5_000}}
            await gateway.post("/metrics/delayed", more)
            for _ in range(2):
                more = {"model_deployment_crn": crn, "metrics": {"mean": "z" * 60_000}}
                await gateway.post("/metrics/aggregate", more)
            assert await taken() <= 3 * MIB
        assert (await gateway.get("/site"))["metrics"]["dropped"] == 0
        assert await taken() > 2 * MIB
    before = (data / "predictd.db").stat().st_size
    async with running(settings_for(data, metrics_max_size=MIB)) as gateway:
        await until(lambda: gateway.get("/site"), lambda site: 0 < site["metrics"]["bytes"] <= MIB)
        file = trio.Path(data / "predictd.db")
        await until(file.stat, lambda facts: facts.st_size < before - MIB)
