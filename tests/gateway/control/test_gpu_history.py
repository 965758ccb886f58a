"""The points of a model with GPUs: as cheap as those of others, and merged like CPU and memory."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

from gateway.control.history import points
from gateway.control.history.points import Point
from gateway.control.history.replica_usage import ReplicaUsage
from workers import Pool, Usage
from workers.gpus import Gpus, GpuUse

MIB = 1 << 20


def point(**more: Any) -> Point:
    return Point(samples=1, ready=1, replicas=1, **more)


def test_point_without_gpus_is_stored_without_them() -> None:
    """A model without GPUs has not a byte more."""
    assert "gpu" not in points.text(point(cores=0.5, memory=7))


def test_points_with_gpus_are_merged() -> None:
    """Busy GPUs as the mean of all samples, memory as the most."""
    first = point(gpus=2, gpus_busy=2.0, gpu_memory=100, gpu_memory_limit=400)
    merged = points.merge([first, first, point(gpus=2, gpus_busy=0.5, gpu_memory=300)])
    assert (merged.gpus, merged.gpus_busy, merged.gpu_memory) == (2, 1.5, 300)
    assert points.read(points.text(merged)) == merged


class _Measured:
    """Measures what pools hold, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.uses: dict[str, GpuUse] = {}
        self.usable = [SimpleNamespace(uuid=f"GPU-{n}", memory=100 * MIB) for n in range(3)]

    async def measure(self, uuids: Iterable[str]) -> dict[str, GpuUse]:
        self.asked.append(list(uuids))
        self.uses = {each: GpuUse(busy=0.5, memory=MIB) for each in self.asked[-1]}
        return self.uses


class _Played:
    """What is measured of a pool: the trees of its replicas, each with what it holds."""

    def __init__(self, *held: list[str]) -> None:
        self.monitored = [
            SimpleNamespace(pid=number, gpus=gpus, usage=lambda _: Usage(memory=0, cpu=0.0))
            for number, gpus in enumerate(held)
        ]


async def test_gpus_of_each_pool_are_measured_at_once() -> None:
    """One question to the driver for all pools, of held GPUs only."""
    gpus = _Measured()
    usage = ReplicaUsage(cast(Gpus, gpus))

    one, two, none = _Played(["GPU-0"], ["GPU-1"]), _Played(["GPU-2"]), _Played([])
    found = await usage.measure(cast("list[Pool]", [one, two, none]))
    assert gpus.asked == [["GPU-0", "GPU-1", "GPU-2"]]
    assert found[cast(Pool, one)][2:] == (1.0, 2 * MIB, 200 * MIB)
    assert found[cast(Pool, two)][2:] == (0.5, MIB, 100 * MIB)
    assert found[cast(Pool, none)][2:] == (0, 0, 0)
