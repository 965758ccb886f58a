"""Metrics age with time that has really passed, also if the wall clock jumps."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import store
from gateway.control.metrics.metrics import Metrics
from gateway.control.metrics.metrics_writer import MetricsWriter
from gateway.control.metrics.retention_clock import SETTLED, RetentionClock
from gateway.control.runtime_settings import RuntimeSettings
from gateway.encryption import Encryption
from gateway.setting_kinds import MIB
from gateway.settings import LoadedSettings, Settings
from store import Database, Deployment, open_database, retention
from tests.faults.matrix import fault
from tests.store.tables.test_metrics import a_measurement, another_project, put

DAY = 86_400.0
NOON = 1_795_262_400.0


class Clocks:
    """A wall clock that can be set, and a monotonic one."""

    def __init__(self, wall: float = NOON) -> None:
        self.monotonic = 1_000.0
        self.ahead = wall - self.monotonic

    def of(self, last_ms: int = 0) -> RetentionClock:
        return RetentionClock(
            last_ms,
            wall=lambda: self.monotonic + self.ahead,
            monotonic=lambda: self.monotonic,
        )

    def pass_by(self, seconds: float, clock: RetentionClock) -> int:
        """So much time, with a look each minute, as there is in a gateway."""
        while seconds > 0:
            step = min(seconds, 60.0)
            self.monotonic += step
            seconds -= step
            clock.now_ms()
        return clock.now_ms()


@pytest.mark.parametrize("days", [400, -400, 20_000, -20_000])
@pytest.mark.parametrize("minutes", [1, 300])
def test_a_jump_and_back(days: int, minutes: int) -> None:
    """A clock that is wrong for minutes or hours changes nothing, during it and afterwards."""
    clocks = Clocks()
    clock = clocks.of()
    begin = clocks.pass_by(100, clock)
    clocks.ahead += days * DAY
    assert clocks.pass_by(minutes * 60, clock) == begin + minutes * 60_000
    clocks.ahead -= days * DAY
    assert clocks.pass_by(7 * 3600, clock) == begin + (minutes * 60 + 7 * 3600) * 1000


@pytest.mark.parametrize("days", [400, -400])
def test_a_start_with_a_wrong_clock(days: int) -> None:
    """A start continues from the time of the last row, not of the clock; so does a later one."""
    clocks = Clocks(NOON + days * DAY)
    last = int(NOON * 1000)
    clock = clocks.of(last)
    assert clocks.pass_by(3600, clock) == last + 3_600_000
    clocks.ahead -= days * DAY
    assert clocks.of(last + 3_600_000).now_ms() == last + 3_600_000


def test_a_clock_that_stays_behind() -> None:
    """One that was set back, or stands still at a start, is not followed back, however steady."""
    clocks = Clocks(NOON - 400 * DAY)
    last = int(NOON * 1000)
    clock = clocks.of(last)
    for hours in (5, 10):
        assert clocks.pass_by(5 * 3600, clock) == last + hours * 3_600_000


def test_time_off_counts_in_the_end() -> None:
    """Metrics age while the machine is off or asleep, once the clock has been steady for hours."""
    clocks = Clocks()
    last = int((NOON - 30 * DAY) * 1000)
    clock = clocks.of(last)
    assert clocks.pass_by(SETTLED - 120, clock) < last + DAY * 1000
    assert clocks.pass_by(240, clock) == int((clocks.monotonic + clocks.ahead) * 1000)
    clocks.ahead += 8 * 3600  # it slept
    before = clock.now_ms()
    assert clocks.pass_by(SETTLED / 2, clock) == before + SETTLED / 2 * 1000
    assert clocks.pass_by(SETTLED, clock) == int((clocks.monotonic + clocks.ahead) * 1000)


@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(0, SETTLED / 2)), max_size=20))
def test_it_never_goes_back_nor_faster(steps: list[tuple[float, float]]) -> None:
    """However the clock is set again and again, it advances as the monotonic one does."""
    clocks = Clocks()
    clock = clocks.of()
    begin = clock.now_ms()
    since = clocks.monotonic
    for jump, seconds in steps:
        clocks.ahead += jump if abs(jump) > 10 else 10
        clocks.pass_by(seconds, clock)
        assert abs(clock.now_ms() - begin - (clocks.monotonic - since) * 1000) <= 2


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "predictd.db") as database:
        yield database


@fault(
    "the clock jumps",
    injection="400 days ahead and behind, for a minute",
    bound="no metrics are forgotten",
)
async def test_a_jump_forgets_no_metrics(database: Database) -> None:
    """400 days ahead for a minute, and back: every row is there, those of that minute, too; after
    their age all of them go."""
    deployment = await another_project(database)
    clocks = Clocks()
    clock = clocks.of()
    age_ms = int(365 * DAY * 1000)

    async def tell_and_forget() -> int:
        await put(database, deployment.id, [a_measurement()], now_ms=clock.now_ms())
        await database.write(retention.delete_old, clock.now_ms() - age_ms)
        return (await database.read(store.metrics.totals))[0]

    assert await tell_and_forget() == 1
    for number, days in enumerate((400, -400, -400, 400), 2):
        clocks.ahead += days * DAY
        clocks.pass_by(60, clock)
        assert await tell_and_forget() == number
    clocks.pass_by(366 * DAY, clock)
    assert await tell_and_forget() == 1


async def test_what_a_look_takes_away(database: Database) -> None:
    """What is too old by that clock goes, what is of a deleted model, and what is too much; the
    wall clock of this machine, years ahead here, says nothing."""
    kept, gone = await another_project(database), await another_project(database)
    clocks = Clocks(NOON - 3_000 * DAY)
    clock = clocks.of()

    given = LoadedSettings(Settings(metrics_retention_days=1.0, metrics_max_size=MIB), {})
    looking = Metrics(
        database=database,
        metrics_writer=MetricsWriter(database, limit=lambda: MIB, clock=clock),
        clock=clock,
        settings=RuntimeSettings(given, {}, database, Encryption("60" * 32)),
        instance_id=store.new_id(),
    )

    async def tell(deployment: Deployment, many: int, text: str = "") -> None:
        told = [a_measurement(x=text) for _ in range(many)]
        await put(database, deployment.id, told, now_ms=clock.now_ms())

    async def left() -> int:
        await looking.delete_expired()
        return (await database.read(store.metrics.totals))[0]

    await tell(kept, 3)
    await tell(gone, 5)
    clocks.pass_by(DAY - 60, clock)
    await tell(kept, 7)
    assert await left() == 15
    clocks.pass_by(120, clock)
    assert await left() == 7
    await tell(gone, 5)
    await database.write(store.models.delete, gone.model_id)
    assert await left() == 7
    await tell(kept, 40, "y" * 50_000)
    assert 15 < await left() < 25
    assert (await database.read(store.metrics.totals))[1] <= MIB
