"""What is kept of the metrics: never more than the limit, and no less than fits."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from random import Random

import aiosqlite
import pytest

import store
from store import Database, Deployment, MetricRecord, Model, metrics, retention
from store.sqlite.connections import PAGES_AT_ONCE, SPARE_PAGES
from store.sqlite.migrate import load_migrations
from tests.faults.matrix import fault
from tests.store.sqlite.test_migrate import ask
from tests.store.tables.test_metrics import LIMIT, NOON, another_project, cut, put, rows

MIB = 1 << 20


def of_size(size: int, number: int = 0, letter: str = "x") -> MetricRecord:
    """A measurement whose text has so many characters; later ones have later uuids."""
    uuid = f"{number:08x}-0000-7000-8000-{os.urandom(6).hex()}"
    text = f'{{"x":"{letter * (size - 8)}"}}'
    return MetricRecord(uuid=uuid, start_ms=NOON + number, end_ms=NOON + number, metrics=text)


async def fill(database: Database, deployment: Deployment, size: int, total: int) -> None:
    """Writes so many bytes of rows of this size, in batches."""
    batch = max(1, min(500, MIB // 4 // size))
    for first in range(0, total // size, batch):
        await put(database, deployment.id, [of_size(size, first + n) for n in range(batch)])


@fault(
    "metrics without end",
    injection="rows of 30 bytes to 60 KB, several times the limit",
    bound="never more than `metrics_max_size`, in the file too; the last rows are there",
)
@pytest.mark.parametrize("size", [30, 900, 2_100, 4_200, 60_000])
async def test_rows_stay_within_the_limit_at_each_write(
    database: Database, database_path: Path, deployment: Deployment, size: int
) -> None:
    """After each transaction all rows take no more than the limit, in the file too, and at least
    nine tenths of it are used; the last rows are there."""
    limit, batch = 2 * MIB, max(1, min(500, MIB // 8 // size))
    written = 0
    while written * size < 2.5 * limit or written % batch:
        told = [of_size(size, written + n) for n in range(batch)]
        while (
            await database.write(metrics.append, {deployment.id: told}, limit=limit, now_ms=NOON)
        ) is None:
            assert (await database.read(metrics.totals))[1] <= limit
        assert (await database.read(metrics.totals))[1] <= limit
        written += batch
    _, taken = await database.read(metrics.totals)
    assert 0.9 * limit < taken <= limit
    assert await database.read(store.database_copy.size) < limit + 400 * 1024
    left = await rows(database, "deployment", deployment.id, start=NOON + written - batch)
    assert [row.uuid[:8] for row in left] == [each.uuid[:8] for each in told]


@pytest.mark.parametrize("letter", ["x", "ä", "\U0001f600"])
async def test_bytes_are_counted_not_characters(
    database: Database, deployment: Deployment, letter: str
) -> None:
    """Text that takes more bytes than it has characters counts as what it takes in the file."""
    empty = await database.read(store.database_copy.size)
    for first in range(0, 60, 10):
        told = [of_size(20_000, first + n, letter) for n in range(10)]
        await put(database, deployment.id, told)
    _, taken = await database.read(metrics.totals)
    grown = await database.read(store.database_copy.size) - empty
    assert taken == pytest.approx(grown, rel=0.1)


@fault(
    "metrics that are deleted",
    injection="15 of 16 MiB",
    bound="the file gets shorter, in short turns",
)
async def test_deleted_rows_shrink_the_file(
    database: Database, database_path: Path, deployment: Deployment
) -> None:
    """Deleted rows make the file shorter, in turns of a bounded number of pages; a reserve of free
    pages stays in it."""
    await fill(database, deployment, 9_000, 16 * MIB)
    full = await database.read(store.database_copy.size)
    assert not await database.shrink()
    await cut(database, MIB)
    assert await database.read(store.database_copy.size) == full
    turns, before = 1, full
    while await database.shrink():
        turns += 1
        now = await database.read(store.database_copy.size)
        assert 0 < before - now <= (PAGES_AT_ONCE + 2) * 4096  # and pages of pointers
        before = now
    assert turns > 5
    left = await database.read(store.database_copy.size)
    for _ in range(3):
        assert not await database.shrink()
    assert await database.read(store.database_copy.size) == left
    assert SPARE_PAGES * 4096 < left < 2 * MIB + SPARE_PAGES * 4096
    assert database_path.stat().st_size == await database.read(store.database_copy.size)


async def test_lowered_limit_is_reached_in_bounded_turns(
    database: Database, deployment: Deployment
) -> None:
    """A limit below the present size is reached in bounded turns, in which nothing is written; then
    the batch is written."""
    await fill(database, deployment, 30, 2 * MIB // 4)
    before, _ = await database.read(metrics.totals)
    told = [of_size(30, 2**31)]
    turns = 0
    while (
        await database.write(metrics.append, {deployment.id: told}, limit=MIB // 4, now_ms=NOON)
    ) is None:
        turns += 1
        now, _ = await database.read(metrics.totals)
        assert before - now <= retention.ROWS_AT_ONCE
        before = now
    assert turns > 5
    [*_, last] = await rows(database, "deployment", deployment.id, start=told[0].start_ms)
    assert last.uuid == told[0].uuid


async def test_purge_turn_is_bounded_in_bytes(database: Database, deployment: Deployment) -> None:
    """Of large rows fewer are deleted in one turn than of small ones."""
    await fill(database, deployment, 60_000, 6 * MIB)
    _, before = await database.read(metrics.totals)
    assert not await database.write(retention.free_space, {}, MIB)
    _, after = await database.read(metrics.totals)
    assert 0 <= before - after - retention.BYTES_AT_ONCE < 70_000


@pytest.mark.parametrize("seed", range(4))
async def test_purge_leaves_what_fits(
    database: Database, deployment: Deployment, seed: int
) -> None:
    """A purge deletes from each project only the oldest rows beyond its share, to one row."""
    random = Random(seed)
    other = await another_project(database)
    told: dict[str, list[MetricRecord]] = {}
    for each in (deployment, other):
        sizes = [random.choice([30, 500, 3_000, 30_000]) for _ in range(random.randrange(1, 120))]
        told[each.id] = [of_size(size, n) for n, size in enumerate(sizes)]
        await put(database, each.id, told[each.id])
    taken = {
        each: sum(retention.taken_by(row.metrics) for row in some) for each, some in told.items()
    }
    limit = sum(taken.values()) * random.randrange(20, 90) // 100
    share = retention.fair_share(taken.values(), limit)
    await cut(database, limit, random.randrange(1, 50))
    for deployment_id, some in told.items():
        left = await rows(database, "deployment", deployment_id)
        assert [row.uuid for row in left] == [row.uuid for row in some[len(some) - len(left) :]]
        kept = sum(retention.taken_by(row.metrics) for row in left)
        gone = some[len(some) - len(left) - 1] if len(left) < len(some) else None
        if taken[deployment_id] <= share:
            assert gone is None
        elif gone is not None:
            assert kept <= share < kept + retention.taken_by(gone.metrics)


async def test_batch_that_never_fits_is_an_error(
    database: Database, deployment: Deployment
) -> None:
    """A batch above the whole limit gets an error, and nothing is deleted for it."""
    await put(database, deployment.id, [of_size(30)])
    with pytest.raises(ValueError, match="exceed the limit"):
        await put(database, deployment.id, [of_size(9_000)], limit=8_000)
    assert (await database.read(metrics.totals))[0] == 1


async def test_project_without_rows_makes_others_give_space(
    database: Database, deployment: Deployment
) -> None:
    """Where the project that wants most has nothing to delete, others free space for it."""
    other = await another_project(database)
    await fill(database, other, 900, MIB // 2)
    _, size = await database.read(metrics.totals)
    assert await put(database, deployment.id, [of_size(size * 3 // 4)], limit=size) == 1
    assert (await database.read(metrics.totals))[1] <= size


async def test_project_with_most_after_the_write_gives_space(
    database: Database, deployment: Deployment
) -> None:
    """Space is freed by the project that has most with the rows it is about to write: one with more
    than it has now, but less than it will have, loses nothing."""
    other = await another_project(database)
    await put(database, deployment.id, [of_size(900, n) for n in range(90)])
    await put(database, other.id, [of_size(900, n) for n in range(100)])
    _, size = await database.read(metrics.totals)
    await put(database, deployment.id, [of_size(900, 100 + n) for n in range(50)], limit=size)
    assert len(await rows(database, "deployment", other.id)) == 95
    assert len(await rows(database, "deployment", deployment.id)) == 95


async def test_rows_of_deleted_models_are_deleted_first(
    database: Database, deployment: Deployment, model: Model
) -> None:
    """Rows of a deleted model are deleted before any other row, and count until then."""
    other = await another_project(database)
    await fill(database, deployment, 900, MIB // 4)
    await put(database, other.id, [of_size(900, n) for n in range(50)])
    _, size = await database.read(metrics.totals)
    await database.write(store.models.delete, model.id)
    assert (await database.read(metrics.totals))[1] == size
    assert await put(database, other.id, [of_size(60_000, 99)], limit=size) == 1
    assert len(await rows(database, "deployment", other.id)) == 51


async def test_delayed_metrics_count_for_the_limit(
    database: Database, deployment: Deployment
) -> None:
    """Delayed metrics free space for themselves; a row that was deleted for its own is not
    found."""
    told = [of_size(900, n) for n in range(20)]
    await put(database, deployment.id, told)
    _, size = await database.read(metrics.totals)

    async def merge(uuid: str) -> None:
        found = {"truth": "t" * 3_000}
        while await database.write(metrics.merge, uuid, found, limit=size) is None:
            pass

    await merge(told[-1].uuid)
    assert (await database.read(metrics.totals))[1] <= size
    left = await rows(database, "deployment", deployment.id)
    assert "ttt" in left[-1].metrics
    with pytest.raises(store.NotFound):
        await merge(left[0].uuid)
    left = await rows(database, "deployment", deployment.id)
    counted = sum(retention.taken_by(row.metrics) for row in left)
    assert await database.read(metrics.totals) == (len(left), counted)
    await cut(database, 0)
    assert await database.read(metrics.totals) == (0, 0)


async def test_time_of_the_last_row_is_remembered(
    database: Database, deployment: Deployment
) -> None:
    """The time of the row that was written last is known at the next start."""
    assert await database.read(retention.last_written_ms) == 0
    await put(database, deployment.id, [of_size(30, 1)], now_ms=NOON + 5)
    await put(database, deployment.id, [of_size(30, 2)], now_ms=NOON + 3)
    assert await database.read(retention.last_written_ms) == NOON + 3


async def test_copy_delays_no_reads_and_writes(database: Database, deployment: Deployment) -> None:
    """While a copy is made reads and writes continue, and the copy has the content from before."""
    await put(database, deployment.id, [of_size(30, 1)])

    async def copying(connection: aiosqlite.Connection) -> list[MetricRecord]:
        assert (await metrics.totals(connection))[0] == 1
        connections = database._connections

        async def append(writer: aiosqlite.Connection) -> None:
            told = {deployment.id: [of_size(30, 2)]}
            assert await metrics.append(writer, told, limit=LIMIT, now_ms=NOON) == 1

        await connections.write(append)
        assert [(await connections.read(metrics.totals))[0] for _ in range(3)] == [2, 2, 2]
        return list(await metrics.window(connection, [1], start_ms=0, end_ms=2**62, most=9))

    assert len(await database.read_separately(copying)) == 1


@fault(
    "writes during a backup",
    injection="one between any two steps of the copy",
    bound="it ends, of one view",
)
async def test_copy_ends_during_writes(
    database: Database,
    database_path: Path,
    deployment: Deployment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Writes between two steps of a copy do not restart it, and it ends."""
    await fill(database, deployment, 9_000, 2 * MIB)
    backup = aiosqlite.Connection.backup
    steps = 0

    def write(_status: int, _remaining: int, total: int) -> None:
        nonlocal steps
        steps += 1
        assert steps <= total
        with sqlite3.connect(database_path) as other:
            other.execute("UPDATE metric_sources SET byte_count = byte_count + 1")
        other.close()

    async def slowly(self: aiosqlite.Connection, target: sqlite3.Connection, pages: int) -> None:
        assert pages > 0
        await backup(self, target, pages=16, progress=write)

    monkeypatch.setattr(aiosqlite.Connection, "backup", slowly)
    copy = tmp_path / "copy"
    copy.touch()
    _, before = await database.read(metrics.totals)
    await database.read_separately(store.database_copy.write, copy)
    assert steps > 30
    store.database_copy.check(Path("backup"), copy)
    assert ask(copy, "SELECT byte_count FROM metric_sources") == [(before,)]
    assert (await database.read(metrics.totals))[1] == before + steps


COPY = """
import sys, trio
from pathlib import Path
import store

def peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])

async def main() -> None:
    async with store.open_database(Path(sys.argv[1])) as database:
        Path("/proc/self/clear_refs").write_text("5")
        before = peak()
        await database.read_separately(store.database_copy.write, Path(sys.argv[2]))
        print(peak() - before)

trio.run(main)
"""


@fault(
    "a backup of a large database",
    injection="48 MiB of metrics",
    bound="copied whole, in less than 12 MiB",
)
async def test_large_database_is_copied_in_little_memory(
    database: Database, database_path: Path, deployment: Deployment, tmp_path: Path
) -> None:
    """The copy of 48 MiB takes less than 12 MiB of memory, and is whole."""
    await fill(database, deployment, 200_000, 48 * MIB)
    copy = tmp_path / "copy"
    copy.touch()
    command = [sys.executable, "-c", COPY, str(database_path), str(copy)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(found.stdout) < 12 * 1024
    store.database_copy.check(Path("backup"), copy)
    assert copy.stat().st_size == await database.read(store.database_copy.size)
    assert ask(copy, "SELECT count(*) FROM metrics") == ask(
        database_path, "SELECT count(*) FROM metrics"
    )


async def test_upgraded_database_returns_its_free_pages(database_path: Path) -> None:
    """A database from before rows stored their size is upgraded: its rows are unchanged, count at
    least as much as they take, and free pages can be returned."""
    script = "".join(load_migrations()[:7])
    texts = [f'{{"x":"{"y" * size}"}}' for size in (10, 990, 1_500, 5_000, 200_000)]
    with sqlite3.connect(database_path) as connection:
        connection.executescript(f"{script}\nPRAGMA user_version = 7;")
        connection.execute(
            "INSERT INTO metric_sources (deployment_id, build_id, model_id) VALUES ('d', 'b', 'm')"
        )
        connection.executemany(
            "INSERT INTO metrics (source, start_ms, end_ms, recorded_ms, metrics)"
            " VALUES (1, 2, 3, 4, ?)",
            [(text,) for text in texts],
        )
    connection.close()
    async with store.open_database(database_path) as database:
        _, size = await database.read(metrics.totals)
    assert size >= sum(map(retention.taken_by, texts))
    assert ask(database_path, "SELECT metrics FROM metrics ORDER BY number") == [
        (text,) for text in texts
    ]
    assert ask(database_path, "SELECT source, start_ms, end_ms, recorded_ms FROM metrics") == [
        (1, 2, 3, 4)
    ] * len(texts)
    assert ask(database_path, "PRAGMA auto_vacuum") == [(2,)]
