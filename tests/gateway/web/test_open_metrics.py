"""An open Metrics page: it moves by itself, and reads records only when there are new ones."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio

import store
from benchmarks.large_site import LargeSite, Size, fill
from gateway.control.metrics.analysis import MetricAnalysis
from gateway.data_folder import DataFolder
from store import MetricRecord, new_id
from tests.support.browsers import OURS
from tests.support.gateway import PATIENCE, Gateway, running, settings_for

NOON = 1_795_262_400_000
SECOND = 1000
_SIZE = Size(
    projects=2, models=3, builds=10, experiments=2, users=2, entries=2, requests=2, files=1
)


def records(count: int) -> list[MetricRecord]:
    return [
        MetricRecord(
            uuid=new_id(),
            start_ms=NOON + n * SECOND,
            end_ms=NOON + n * SECOND,
            metrics=f'{{"predicted":{n},"kind":"plain"}}',
        )
        for n in range(count)
    ]


class Stage:
    """A gateway whose one model has three predictions, and how often its records were read."""

    def __init__(self, gateway: Gateway, site: LargeSite, uuids: list[str]) -> None:
        self.gateway = gateway
        self.model = f"/projects/{site.project_id}/models/{site.model_id}"
        self.deployment = f"{self.model}/builds/{site.build_id}/deployments/{site.deployment_id}"
        self.uuids = uuids
        self.read: Counter[str] = Counter()

    def counting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("summary", "over_time", "pairs"):
            monkeypatch.setattr(MetricAnalysis, name, self._counted(name))

    def _counted(self, name: str) -> Any:
        asked = getattr(MetricAnalysis, name)

        async def counted(analysis: MetricAnalysis, *args: Any) -> Any:
            self.read[name] += 1
            return await asked(analysis, *args)

        return counted

    @asynccontextmanager
    async def opened(self, page: str) -> AsyncIterator["Events"]:
        asked = self.gateway.models.stream(
            "GET", "/events", params={"page": self.model + page}, headers=OURS
        )
        sender, lines = trio.open_memory_channel[str](10_000)
        async with asked as response, trio.open_nursery() as nursery:
            nursery.start_soon(_read, response, sender)
            yield Events(lines)
            nursery.cancel_scope.cancel()


async def _read(response: httpx.Response, sender: trio.MemorySendChannel[str]) -> None:
    async for line in response.aiter_lines():
        sender.send_nowait(line)  # so that a cancellation is always within the iterator


class Events:
    """The events of one open page."""

    def __init__(self, lines: trio.MemoryReceiveChannel[str]) -> None:
        self._lines = lines

    async def until(self, text: str) -> None:
        """Until the region of the metrics comes, which shows this text."""
        with trio.fail_after(PATIENCE):
            async for line in self._lines:
                if line.startswith("data: "):
                    region = msgspec.json.decode(line[6:])
                    if region["id"] == "metrics" and text in region["html"]:
                        return
        raise AssertionError(f"the stream ended before it showed {text!r}")

    async def checked(self) -> None:
        """Until the page was looked at, and nothing has changed."""
        with trio.fail_after(PATIENCE):
            async for line in self._lines:
                if line.startswith(":"):
                    return


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    data = DataFolder(tmp_path / "data")
    async with running(settings_for(data.root)):
        pass  # makes the data folder
    told = records(3)
    async with store.open_database(data.database) as database:
        site = await fill(database, tmp_path / "projects", _SIZE)
        await database.write(
            store.metrics.append, {site.deployment_id: told}, limit=1 << 30, now_ms=NOON
        )
    async with running(settings_for(data.root, gc_hours=0.0)) as gateway:
        token = (await gateway.post("/site/links"))["token"]
        answer = await gateway.models.post("/open", data={"token": token}, headers=OURS)
        assert answer.status_code == 303
        stage = Stage(gateway, site, [each.uuid for each in told])
        stage.counting(monkeypatch)
        yield stage


async def changed_elsewhere(gateway: Gateway) -> None:
    await gateway.post("/projects", {"name": new_id(), "template": "blank"})


async def test_open_page_shows_what_becomes_known(stage: Stage) -> None:
    """Truth that is added to a prediction is shown on the open page, with its charts; a change
    elsewhere does not even read the records."""
    async with stage.opened("/metrics") as events:
        await events.until("3 predictions")
        first = stage.read.copy()
        await changed_elsewhere(stage.gateway)
        await events.checked()
        assert stage.read == first
        truth = {"prediction_uuid": stage.uuids[0], "metrics": {"actual": 7}}
        await stage.gateway.post("/metrics/delayed", truth)
        await events.until(">actual</a>")
        assert stage.read["summary"] == first["summary"] + 1


async def test_truth_of_equal_length_is_shown(stage: Stage) -> None:
    """A value that replaces another one is a change, although as many bytes are kept."""
    path = "/metrics/compare?x=actual&y=predicted"
    truth = {"prediction_uuid": stage.uuids[2], "metrics": {"actual": 3}}
    await stage.gateway.post("/metrics/delayed", truth)
    async with stage.opened(path) as events:
        await events.until("<dt>Mean error</dt><dd>1</dd>")
        truth["metrics"] = {"actual": 9}
        await stage.gateway.post("/metrics/delayed", truth)
        await events.until("<dt>Mean error</dt><dd>7</dd>")


async def test_open_page_shows_new_aggregates(stage: Stage) -> None:
    """The page of the aggregates moves, too."""
    crn = (await stage.gateway.get(stage.deployment))["crn"]
    async with stage.opened("/metrics/aggregates") as events:
        await events.until("No aggregates here")
        body = {"model_deployment_crn": crn, "metrics": {"error": 7.25}}
        await stage.gateway.post("/metrics/aggregate", body)
        await events.until("7.25")
    assert stage.read == {}
