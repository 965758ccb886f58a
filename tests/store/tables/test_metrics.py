"""Metrics: what is told comes back in its window, what is found out later joins it, all goes."""

from math import inf
from typing import Literal

import aiosqlite
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import store
from store import (
    Build,
    Database,
    Deployment,
    MetricRecord,
    Model,
    NotFound,
    StoredMetricRecord,
    metrics,
    new_id,
    retention,
)
from tests.support.records import a_build, a_deployment, a_model, a_project

LIMIT = 1 << 30
# 2026-11-21, in milliseconds.
NOON = 1_795_262_400_000
FOREVER = 2**62


def a_measurement(start: int = NOON, **more: object) -> MetricRecord:
    told = msgspec.json.encode(more or {"x": 1}).decode()
    return MetricRecord(uuid=new_id(), start_ms=start, end_ms=start + 5, metrics=told)


def an_aggregate(start: int = NOON, end: int = NOON) -> MetricRecord:
    return MetricRecord(uuid="", start_ms=start, end_ms=end, metrics='{"mean":0.5}')


@pytest.fixture
async def second(database: Database, model: Model, build: Build) -> Deployment:
    return await database.write(store.deployments.insert, a_deployment(model, build))


async def put(
    database: Database,
    deployment_id: str,
    told: list[MetricRecord],
    limit: int = LIMIT,
    now_ms: int = NOON,
) -> int:
    """Writes rows of a deployment, however many turns that takes; returns how many."""
    while (
        written := await database.write(
            metrics.append, {deployment_id: told}, limit=limit, now_ms=now_ms
        )
    ) is None:
        pass
    return written


async def cut(database: Database, limit: int, most: int = 500) -> None:
    """Forgets what takes more than this."""
    while not await database.write(retention.free_space, {}, limit, most):
        pass


async def rows(
    database: Database,
    noun: Literal["model", "build", "deployment"],
    identifier: str,
    *,
    start: int = 0,
    end: int = FOREVER,
) -> list[StoredMetricRecord]:
    async def look(connection: aiosqlite.Connection) -> list[StoredMetricRecord]:
        found = await metrics.series_of(connection, noun, identifier)
        numbers = [source.number for source in found]
        return await metrics.window(connection, numbers, start_ms=start, end_ms=end, most=1000)

    return await database.read(look)


async def test_metric_record_is_read_as_written(database: Database, deployment: Deployment) -> None:
    """A row is read as it was written, by model, build and deployment alike."""
    told = [a_measurement(), an_aggregate()]
    assert await put(database, deployment.id, told) == 2
    assert deployment.build_id is not None
    by_deployment = await rows(database, "deployment", deployment.id)
    assert [
        MetricRecord(uuid=r.uuid, start_ms=r.start_ms, end_ms=r.end_ms, metrics=r.metrics)
        for r in by_deployment
    ] == told
    assert await rows(database, "build", deployment.build_id) == by_deployment
    assert await rows(database, "model", deployment.model_id) == by_deployment
    assert await rows(database, "deployment", new_id()) == []


async def test_window_includes_both_ends(
    database: Database, deployment: Deployment, second: Deployment
) -> None:
    """Rows of several deployments ascend by start; a window includes both its ends."""
    for number, each in enumerate((deployment, second)):
        told = [a_measurement(NOON + 2 * n + number) for n in reversed(range(5))]
        await put(database, each.id, told)
    found = await rows(database, "model", deployment.model_id, start=NOON + 2, end=NOON + 6)
    assert [row.start_ms - NOON for row in found] == [2, 3, 4, 5, 6]
    assert len({row.series for row in found}) == 2


async def test_pages_of_many_deployments_equal_one_page(
    database: Database, deployment: Deployment, second: Deployment
) -> None:
    """Deployments that overlap, follow each other or are empty give in pages the rows of a single
    page."""
    for number, each in enumerate((deployment, second, deployment)):
        told = [a_measurement(NOON + 30 * number // 2 + n) for n in range(20)]
        await put(database, each.id, told)
    whole = await rows(database, "model", deployment.model_id)
    assert len(whole) == 60
    sources = [
        s.number for s in await database.read(metrics.series_of, "model", deployment.model_id)
    ]
    for most in (1, 7, 20, 59, 60):
        found: list[StoredMetricRecord] = []
        after = None
        while page := await database.read(
            metrics.window, sources, start_ms=0, end_ms=FOREVER, after=after, most=most
        ):
            found += page
            after = (page[-1].start_ms, page[-1].number)
        assert found == whole


async def test_pages_have_every_row_once(database: Database, deployment: Deployment) -> None:
    """Pages in sequence have every row once, also of many that start in one millisecond."""
    told = [a_measurement(NOON + n // 4) for n in range(10)]
    await put(database, deployment.id, told)
    (source,) = await database.read(metrics.series_of, "deployment", deployment.id)
    found: list[StoredMetricRecord] = []
    after = None
    while page := await database.read(
        metrics.window, [source.number], start_ms=NOON, end_ms=FOREVER, after=after, most=3
    ):
        found += page
        after = (page[-1].start_ms, page[-1].number)
    assert [row.uuid for row in found] == [each.uuid for each in told]


async def test_delayed_metrics_join_their_prediction(
    database: Database, deployment: Deployment
) -> None:
    """Delayed metrics join those of their prediction, key by key; the last one wins."""
    told = a_measurement(guess=1, kept={"a": [1, None]})
    await put(database, deployment.id, [told, a_measurement()])
    await database.write(metrics.merge, told.uuid, {"truth": "é", "guess": 2}, limit=LIMIT)
    row = (await rows(database, "deployment", deployment.id))[0]
    expected = {"guess": 2, "kept": {"a": [1, None]}, "truth": "é"}
    assert msgspec.json.decode(row.metrics) == expected
    source = await database.read(metrics.series_of_prediction, told.uuid)
    assert (source.deployment_id, source.row_count) == (deployment.id, 2)


@pytest.mark.parametrize("uuid", ["00000000-0000-4000-8000-000000000000", "", "no uuid"])
async def test_delayed_metrics_need_a_prediction(
    database: Database, deployment: Deployment, uuid: str
) -> None:
    """Delayed metrics of a missing prediction, or of an aggregate, are refused."""
    await put(database, deployment.id, [an_aggregate()])
    with pytest.raises(NotFound):
        await database.write(metrics.merge, uuid, {"truth": 1}, limit=LIMIT)
    with pytest.raises(NotFound):
        await database.read(metrics.series_of_prediction, uuid)


async def test_prediction_has_one_row(
    database: Database, deployment: Deployment, second: Deployment
) -> None:
    """A second record of a prediction changes nothing and counts for nothing."""
    told = a_measurement(honest=True)
    await put(database, deployment.id, [told])
    forged = msgspec.structs.replace(told, metrics='{"honest":false}')
    before = await database.read(metrics.totals)
    assert await put(database, second.id, [forged]) == 0
    assert await database.read(metrics.totals) == before
    assert [row.metrics for row in await rows(database, "model", deployment.model_id)] == [
        told.metrics
    ]


async def test_expired_rows_are_deleted_oldest_first(
    database: Database, deployment: Deployment
) -> None:
    """Expired rows are deleted, the oldest first and a bounded number at a time; the rest stays."""
    told = [a_measurement(NOON - n) for n in range(10)]
    await put(database, deployment.id, told)
    for before in (0, NOON):
        assert await database.write(retention.delete_old, before, 4) == 0
    assert await database.write(retention.delete_old, FOREVER, 4) == 4
    left = await rows(database, "deployment", deployment.id)
    assert {row.uuid for row in left} == {each.uuid for each in told[4:]}


async def test_rows_above_the_limit_are_deleted_oldest_first(
    database: Database, deployment: Deployment
) -> None:
    """Rows are deleted, the oldest first, until the rest fits; the totals are those of the
    remaining rows."""
    told = [a_measurement(n=n) for n in range(10)]
    await put(database, deployment.id, told)
    await database.write(metrics.merge, told[9].uuid, {"truth": "ä" * 50}, limit=LIMIT)
    count, size = await database.read(metrics.totals)
    *texts, longer = [row.metrics for row in await rows(database, "deployment", deployment.id)]
    assert (count, size) == (10, 9 * retention.taken_by(texts[0]) + retention.taken_by(longer))
    await cut(database, size // 2, 1)
    count, left = await database.read(metrics.totals)
    assert size // 2 - 200 < left <= size // 2
    remaining = await rows(database, "deployment", deployment.id)
    assert [row.uuid for row in remaining] == [each.uuid for each in told[-count:]]


async def another_project(database: Database) -> Deployment:
    project = await database.write(store.projects.insert, a_project())
    model = await database.write(store.models.insert, a_model(project))
    build = await database.write(store.builds.insert, a_build(model))
    return await database.write(store.deployments.insert, a_deployment(model, build))


async def test_purge_deletes_from_the_largest_project(
    database: Database, deployment: Deployment, second: Deployment
) -> None:
    """Above the limit, rows of the project that has most are deleted, the oldest of all its
    deployments first; a project below its share keeps all."""
    other = await another_project(database)
    few = [a_measurement(n=n) for n in range(10)]
    await put(database, other.id, few)
    flood = [a_measurement(NOON + n, n=n) for n in range(200)]
    await put(database, deployment.id, flood[0::2])
    await put(database, second.id, flood[1::2])
    _, size = await database.read(metrics.totals)
    await cut(database, size // 4, 7)
    assert (await database.read(metrics.totals))[1] <= size // 4
    assert len(await rows(database, "deployment", other.id)) == 10
    left = await rows(database, "model", deployment.model_id)
    assert 30 < len(left) < 45
    assert [row.uuid for row in left] == [each.uuid for each in flood[-len(left) :]]


async def test_purge_leaves_each_project_its_share(
    database: Database, deployment: Deployment
) -> None:
    """Where several projects have more than their share, each keeps its share and no less."""
    other = await another_project(database)
    for each, many in ((deployment, 300), (other, 100)):
        await put(database, each.id, [a_measurement() for _ in range(many)])
    _, size = await database.read(metrics.totals)
    await cut(database, size // 4)
    assert [len(await rows(database, "deployment", d.id)) for d in (deployment, other)] == [50, 50]


@given(st.lists(st.integers(0, 10**12), max_size=20), st.integers(1, 10**12))
def test_fair_shares_use_all_the_space(taken: list[int], size: int) -> None:
    """Cut to the share, all fit and nothing is left unused; the share is no less than an equal
    part."""
    share = retention.fair_share(taken, size)
    if sum(taken) <= size:
        assert share == inf
    else:
        assert sum(min(each, share) for each in taken) == pytest.approx(size)
        assert share >= size / len(taken) * (1 - 1e-9)


async def test_rows_of_a_deleted_model_are_deleted_in_steps(
    database: Database, deployment: Deployment, model: Model
) -> None:
    """A deleted model leaves rows that are deleted in steps; it can write no more."""
    await put(database, deployment.id, [a_measurement() for _ in range(5)])
    assert await database.write(retention.delete_orphans, 2) == 0
    await database.write(store.models.delete, model.id)
    assert await put(database, deployment.id, [a_measurement()]) == 0
    steps = 0
    while await database.write(retention.delete_orphans, 2):
        steps += 1
    assert steps == 4
    assert await database.read(metrics.totals) == (0, 0)
    assert await database.read(metrics.series_of, "model", model.id) == []
