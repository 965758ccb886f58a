"""Reservations of GPUs in any order: never more than there are, and none is lost."""

from pathlib import Path
from typing import Any, cast

import hypothesis.strategies as st
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings

from gateway.control.gpu_reservations import GpuReservation, GpuReservations
from gateway.control.runtime_settings import RuntimeSettings
from gateway.errors import Refusal
from gateway.settings import Settings
from tests.support.gpus import PlainGpus
from workers.gpus import Gpus

TOTAL = 4
# What a project asks for: a number of GPUs, and whether it takes over from its own.
STEPS = st.lists(
    st.tuples(st.sampled_from("pqr"), st.integers(1, TOTAL), st.sampled_from(["ask", "end"])),
    max_size=25,
)


class _Settings:
    """The settings that reservations read."""

    current = Settings(project_gpus=3)


def opened(folder: Path) -> GpuReservations:
    gpus = Gpus(PlainGpus(TOTAL), folder / "gpus", lambda _: [])
    return GpuReservations(gpus, cast(RuntimeSettings, _Settings()))


async def _play(folder: Path, steps: list[tuple[str, int, str]]) -> None:
    reservations = opened(folder)
    await reservations.gpus.look()
    held: list[GpuReservation] = []

    async def ask(project: str, count: int) -> None:
        before = next((each for each in held if each.project_id == project and each.count), None)
        found = await reservations.reserve(project, count, lambda _: None, before=before)
        assert found is not None
        reservation, taken = found
        assert reservation.count == count
        assert taken <= count
        held.append(reservation)

    async with trio.open_nursery() as nursery:
        for project, count, deed in steps:
            if deed == "ask":
                nursery.start_soon(ask, project, count)
            elif held:
                reservations.release(held.pop(count % len(held)))
            while True:
                await trio.testing.wait_all_tasks_blocked()
                if not reservations.gpus.thread.borrowed_tokens:
                    break
                await trio.sleep(0.0005)
            reserved = sum(each.count for each in held)
            assert reserved + reservations.totals().free == TOTAL
            for each in "pqr":
                own = sum(one.count for one in held if one.project_id == each)
                assert own <= _Settings.current.project_gpus
        nursery.cancel_scope.cancel()


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
def test_no_gpu_is_reserved_twice(tmp_path: Path, steps: list[tuple[str, int, str]]) -> None:
    """In any order of requests, take-overs and ends the reserved and the free ones are all."""
    trio.run(_play, tmp_path, steps)


async def test_session_is_refused_while_others_wait(tmp_path: Path) -> None:
    """What does not wait takes nothing from those that wait."""
    reservations = opened(tmp_path)
    await reservations.reserve("p", 2, lambda _: None)
    told: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reservations.reserve, "q", 3, told.append)
        while not told:  # noqa: ASYNC110
            await trio.sleep(0.001)
        with pytest.raises(Refusal, match="asked 1, 2 of 4 free, and others waited before"):
            await reservations.reserve_now("p", 1)
        nursery.cancel_scope.cancel()
    assert (await reservations.reserve_now("p", 1)).count == 1
