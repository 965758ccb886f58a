"""Rows and answers, one for one, whatever is killed; and what goes with time."""

import os
import signal
from pathlib import Path

import psutil
import pytest
import trio

import store
from gateway.control import metrics, tracking
from store import StoreFailed, open_database
from tests.gateway.kit import PROJECTS, Gateway, running, settings_for, until


async def tracked(gateway: Gateway, **more: object) -> tuple[str, str]:
    """A model that tells of its predictions, and its access key."""
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
        ((model,),) = [await database.read(store.models.listing)]
        sources = await database.read(store.metrics.sources, "model", model.id)
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
    monkeypatch.setattr(tracking, "_RETRY", 0.05)
    write = store.metrics.append_all
    refuses = True

    async def refusing(*args: object) -> None:
        if refuses:
            raise StoreFailed("the disk fails")
        await write(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(store.metrics, "append_all", refusing)
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
    """What is more than fits is gone after a while."""
    monkeypatch.setattr(metrics, "_PERIOD", 0.05)
    async with running(settings_for(tmp_path / "data", metrics_size=1)) as gateway:
        model, key = await tracked(gateway)
        for n in range(3):
            assert (await gateway.call(key, n)).status_code == 200
        crn = (await gateway.get(model))["crn"]
        await until(
            lambda: gateway.get("/metrics", model_crn=crn), lambda page: not page["metrics"]
        )
        site = await until(
            lambda: gateway.get("/site"), lambda site: site["metrics"]["recorded"] == 3
        )
        assert site["metrics"]["dropped"] == 0
