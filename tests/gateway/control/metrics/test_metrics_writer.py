"""What replicas tell on its way to the store: none lost, none kept too long, none too many."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import store
from gateway.control.metrics import metrics_writer
from gateway.control.metrics.measurements import MOST_REFUSED, read
from gateway.control.metrics.metrics_writer import MetricsWriter
from gateway.control.metrics.retention_clock import RetentionClock
from store import Database, Deployment, StoreFailed, new_id, open_database
from tests.support.records import a_build, a_deployment, a_model, a_project

PATIENCE = 30.0


def told(uuid: str = "", **more: object) -> bytes:
    body = {
        "predictionUuid": uuid or new_id(),
        "startTimeStampMs": 1000,
        "endTimeStampMs": 1001,
        "metrics": {"x": 1},
    }
    return json.dumps(body | more).encode()


def tracking_of(database: Any, limit: int = 1 << 30, **more: int) -> MetricsWriter:
    return MetricsWriter(database, limit=lambda: limit, clock=RetentionClock(), **more)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "predictd.db") as database:
        yield database


@pytest.fixture
async def deployment(database: Database) -> Deployment:
    project = await database.write(store.projects.insert, a_project())
    model = await database.write(store.models.insert, a_model(project))
    build = await database.write(store.builds.insert, a_build(model))
    return await database.write(store.deployments.insert, a_deployment(model, build))


class Refusing:
    """A database whose disk takes nothing until it is told to."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.refuses = True
        self.tried = trio.Event()

    async def write(self, work: Callable[..., Awaitable[Any]], *args: Any, **named: Any) -> Any:
        self.tried.set()
        if self.refuses:
            raise StoreFailed("no room")
        return await self.database.write(work, *args, **named)


class Told:
    """A database that is told of one more prediction while it writes, until there were so many."""

    def __init__(self, most: int) -> None:
        self.tell: Callable[[bytes], None]
        self.rows: list[int] = []
        self.began: list[float] = []
        self._most = most

    async def write(
        self, work: Callable[..., Awaitable[Any]], rows: dict[str, list[Any]], **_limit: int
    ) -> int:
        self.began.append(trio.current_time())
        await trio.sleep(metrics_writer.PAUSE / 10)
        self.rows += [len(each) for each in rows.values()]
        for _ in range(10 if len(self.rows) < self._most else 0):
            self.tell(told())
        return self.rows[-1]


async def count(database: Database) -> int:
    return (await database.read(store.metrics.totals))[0]


async def test_all_is_written(
    database: Database, deployment: Deployment, nursery: trio.Nursery
) -> None:
    """What was told before the question is written when it returns, however much that is."""
    keeping = tracking_of(database)
    nursery.start_soon(keeping.run)
    tell = keeping.sink_for(deployment.project_id, deployment.id)
    with trio.fail_after(PATIENCE):
        for many in (1, 0, 1700, 3):
            before = await count(database)
            for _ in range(many):
                tell(told())
            await keeping.flush()
            assert await count(database) == before + many
    assert keeping.state() == metrics_writer.MetricsWriterState(
        waiting=0, waiting_bytes=0, recorded=1704, dropped=0, refused=0, refused_values=0
    )


async def test_turns(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """What comes while something is written waits for the next turn, so that a stream of
    predictions makes few large transactions."""
    database = Told(most=4)
    keeping = tracking_of(database)
    database.tell = keeping.sink_for(new_id(), new_id())
    nursery.start_soon(keeping.run)
    for _ in range(metrics_writer._MOST_ROWS + 1):
        database.tell(told())
    await keeping.flush()
    await trio.sleep(10 * metrics_writer.PAUSE)
    assert database.rows == [500, 1 + 10, 10, 10]
    assert keeping.state().waiting == 0
    first, rest, *turns = database.began
    assert rest - first < metrics_writer.PAUSE
    assert all(
        later - earlier >= metrics_writer.PAUSE for earlier, later in pairwise([rest, *turns])
    )


@pytest.mark.parametrize("sizes", [[70_000], [10, 70_000, 10], [70_000, 70_000, 10], [40_000] * 3])
async def test_a_row_larger_than_a_batch(
    database: Database, deployment: Deployment, nursery: trio.Nursery, sizes: list[int]
) -> None:
    """A row that is larger than a batch may be is written alone, and all behind it, too; between
    two rows that are large, others have a turn of the loop."""
    batches: list[list[int]] = []

    class Noted:
        async def write(self, work: Any, rows: dict[str, list[Any]], **named: int) -> Any:
            batches.append([len(row.metrics) for each in rows.values() for row in each])
            return await database.write(work, rows, **named)

    keeping = tracking_of(Noted(), limit=1 << 20)  # a sixteenth of it are 64 KiB
    tell = keeping.sink_for(deployment.project_id, deployment.id)
    for size in sizes:
        tell(told(metrics={"x": "y" * size}))
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    nursery.start_soon(count_turns)
    with trio.fail_after(PATIENCE):
        while keeping.state().waiting:
            before = turns
            await keeping._write()
            assert turns > before
    assert await count(database) == len(sizes)
    assert all(len(batch) == 1 or sum(batch) <= 65_536 for batch in batches)
    assert [size for batch in batches for size in batch] == [size + 9 for size in sizes]


@pytest.mark.parametrize(("many", "size", "turns"), [(3, 70_000, 3), (500, 10, 9)])
async def test_others_have_turns_while_rows_are_read(
    nursery: trio.Nursery, many: int, size: int, turns: int
) -> None:
    """Before a batch is written, others have a turn of the loop for each large row in it, and for
    each 50 small ones."""
    taken = 0
    at_write: list[int] = []

    async def count_turns() -> None:
        nonlocal taken
        while True:
            await trio.lowlevel.checkpoint()
            taken += 1

    class Disk:
        async def write(self, work: Any, rows: Any, **_named: int) -> int:
            at_write.append(taken)
            return many

    keeping = tracking_of(Disk())
    for _ in range(many):
        keeping.sink_for("project", "deployment")(told(metrics={"x": "y" * size}))
    nursery.start_soon(count_turns)
    await trio.lowlevel.checkpoint()
    before = taken
    assert await keeping._write() == many
    # Trio runs what is ready in any order: between as many checkpoints lies one turn less.
    assert at_write[0] - before >= turns - 1


async def test_a_batch_waits_until_there_is_room(
    database: Database, deployment: Deployment, nursery: trio.Nursery
) -> None:
    """What is told while there is too much is written when enough has gone, in the same order, and
    all together never take more than the limit."""
    limit = 1 << 20
    keeping = tracking_of(database, limit=limit)
    nursery.start_soon(keeping.run)
    tell = keeping.sink_for(deployment.project_id, deployment.id)
    with trio.fail_after(PATIENCE):
        for first in range(0, 400, 100):
            for number in range(first, first + 100):
                tell(told(startTimeStampMs=number, metrics={"x": "y" * 5_000}))
            await keeping.flush()
            assert (await database.read(store.metrics.totals))[1] <= limit
        while keeping.state().waiting:  # noqa: ASYNC110 - there is no event for it
            await trio.sleep(0.01)
    [source] = await database.read(store.metrics.series_of, "deployment", deployment.id)
    left = await database.read(
        store.metrics.window, [source.number], start_ms=0, end_ms=2**53, most=1000
    )
    assert keeping.state().recorded == 400
    assert 180 < len(left) < 210
    assert [row.start_ms for row in left] == list(range(400 - len(left), 400))


async def test_the_end(database: Database, deployment: Deployment) -> None:
    """A clean end writes what is left; records of a deleted model are no error."""
    keeping = tracking_of(database)
    for _ in range(600):
        keeping.sink_for(deployment.project_id, deployment.id)(told())
    keeping.sink_for(new_id(), new_id())(told())
    await keeping.finish()
    assert await count(database) == 600
    assert keeping.state().waiting == 0


async def test_no_room(
    database: Database,
    deployment: Deployment,
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While the disk takes nothing it waits, up to so many bytes; what has no room is dropped,
    counted and logged once; when the disk is there again, all that waited is written."""
    monkeypatch.setattr(metrics_writer, "_RETRY", 0.01)
    size = len(told()) + metrics_writer._OVERHEAD
    disk = Refusing(database)
    keeping = tracking_of(disk, most_bytes=12 * size + 5)
    nursery.start_soon(keeping.run)
    tell = keeping.sink_for(deployment.project_id, deployment.id)
    with trio.fail_after(PATIENCE):
        for _ in range(13):
            tell(told())
        await disk.tried.wait()
        state = keeping.state()
        assert (state.waiting, state.waiting_bytes, state.dropped) == (10, 10 * size, 3)
        assert keeping.dropped(deployment.id) == 3
        await keeping.flush()  # returns all the same
        disk.refuses = False
        while keeping.state().waiting:  # noqa: ASYNC110 - there is no event for it
            await trio.sleep(0.01)
    assert await count(database) == 10
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "dropped" in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        told("no uuid"),
        told("ab"),
        told(metrics=[1]),
        told(metrics="x"),
        told(startTimeStampMs=-1),
        told(endTimeStampMs=2**60),
        told(startTimeStampMs="1"),
        told().replace(b'"x"', b'"\xff"'),
        told().replace(b'{"x": 1}', b'{"x": %b}' % (b"[" * 5000 + b"]" * 5000)),
        told(metrics={str(number): number for number in range(1001)}),
    ],
)
def test_what_is_no_measurement(body: bytes) -> None:
    """Each body of a model is a metric record or is refused."""
    assert read(body) is None


async def test_a_flood_leaves_room_for_other_projects() -> None:
    """While the disk takes nothing, one project's models fill no more than their share, together:
    another's rows have room."""
    size = len(told()) + metrics_writer._OVERHEAD
    keeping = tracking_of(None, most_bytes=90 * size)
    flood, same_project = keeping.sink_for("A", "first"), keeping.sink_for("A", "second")
    for _ in range(100):
        flood(told())
        same_project(told())
    assert keeping.state().waiting == 80
    assert keeping.dropped("first") == keeping.dropped("second") == 60
    other = keeping.sink_for("B", "third")
    for _ in range(8):
        other(told())
    assert keeping.dropped("third") == 0
    assert keeping.state().waiting == 88


async def test_what_is_written_makes_room_for_its_project(
    database: Database, deployment: Deployment, nursery: trio.Nursery
) -> None:
    """A project that had filled its share has room again when its rows are written."""
    size = len(told()) + metrics_writer._OVERHEAD
    keeping = tracking_of(database, most_bytes=9 * size)
    nursery.start_soon(keeping.run)
    tell = keeping.sink_for(deployment.project_id, deployment.id)
    with trio.fail_after(PATIENCE):
        for _ in range(3):
            for _ in range(8):
                tell(told())
            await keeping.flush()
    assert await count(database) == 24
    assert keeping.state().waiting_bytes == keeping.state().dropped == 0


async def test_the_refused_are_counted(
    database: Database, deployment: Deployment, nursery: trio.Nursery
) -> None:
    """What is no measurement is counted and keeps nothing else from being written."""
    keeping = tracking_of(database)
    nursery.start_soon(keeping.run)
    with trio.fail_after(PATIENCE):
        for body in (told(), b"junk", told()):
            keeping.sink_for(deployment.project_id, deployment.id)(body)
        await keeping.flush()
    assert await count(database) == 2
    assert keeping.state().refused == 1


def test_a_clock_that_was_set_back() -> None:
    """A prediction may end before it began, as its clock has it: it was made all the same."""
    assert read(told(startTimeStampMs=5, endTimeStampMs=4)) is not None


async def test_a_large_body_is_examined_first(
    database: Database, deployment: Deployment, nursery: trio.Nursery
) -> None:
    """What may take long to read is read elsewhere; a verdict against it counts as refused."""
    examined: list[int] = []

    async def examine(body: bytes | bytearray, flow: str) -> str:
        assert flow == deployment.id
        examined.append(len(body))
        return "" if b"good" in body else "wrong"

    keeping = tracking_of(database)
    nursery.start_soon(keeping.run, examine)
    for text in ("small", "good" + "x" * 70_000, "bad" + "x" * 70_000):
        keeping.sink_for(new_id(), deployment.id)(told(metrics={"x": text}))
    await keeping.flush()
    assert len(examined) == 2
    assert (keeping.state().recorded, keeping.state().refused) == (2, 1)


async def test_values_that_were_refused_are_counted(
    database: Database, deployment: Deployment, nursery: trio.Nursery
) -> None:
    """A model that was refused to track some values, and went on, is told of by their number."""
    keeping = tracking_of(database)
    nursery.start_soon(keeping.run)
    for refused in (3, 0, -5, 2**60):
        keeping.sink_for(new_id(), deployment.id)(told(refused=refused))
    await keeping.flush()
    assert keeping.state().recorded == 4
    assert keeping.state().refused_values == 3 + MOST_REFUSED
