"""The history of models: rolled up without counting twice, bounded, deleted with its model."""

from collections.abc import Sequence

import store
from store import Database, Model, history

DAY = 86_400
NOON = 1_795_262_400


def added(texts: Sequence[str]) -> str:
    return str(sum(map(int, texts)))


async def put(database: Database, model: Model, at: int, data: str = "1") -> None:
    await database.write(history.append, at, {model.id: data}, added)


async def total(database: Database, model: Model, start: int, step: int) -> int:
    found = await database.read(history.window, model.id, start, step)
    assert [each.at for each in found] == sorted({each.at for each in found})
    return sum(int(each.data) for each in found)


async def test_each_point_counts_once_at_each_step(database: Database, model: Model) -> None:
    """At any moment, and after a repeated roll-up, a window of each step has all points."""
    for n in range(200):
        await put(database, model, NOON + n * 10)
        if n % 7 == 0:
            for _ in range(2):
                now = NOON + n * 10 + 10
                await database.write(history.roll_up, [model.id], now, added)
            for step in history.STEPS:
                assert await total(database, model, NOON, step) == n + 1


async def test_repeated_point_is_merged(database: Database, model: Model) -> None:
    """A second point of the same time, as after a restart, adds to the first."""
    await put(database, model, NOON, "2")
    await put(database, model, NOON, "3")
    assert await total(database, model, NOON, 10) == 5


async def test_points_are_bounded(database: Database, model: Model) -> None:
    """After days of points a model has no more than the steps keep."""
    for at in range(NOON, NOON + 16 * DAY, 900):
        await put(database, model, at)
        await database.write(history.roll_up, [model.id], at + 900, added)
        await database.write(history.delete_old, [model.id], at + 900)
    end = NOON + 16 * DAY
    for step in history.STEPS:
        found = await database.read(history.window, model.id, 0, step)
        assert all(each.at >= end - max(history.KEPT.values()) for each in found)
    assert await total(database, model, end - 14 * DAY, 900) == 14 * 96


async def test_history_goes_with_its_model(database: Database, model: Model) -> None:
    """A deleted model has no points, and gets none."""
    await put(database, model, NOON)
    await database.write(store.models.delete, model.id)
    await put(database, model, NOON + 10)
    assert await total(database, model, 0, 900) == 0
